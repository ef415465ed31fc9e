# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sandbox: a point in time restored beside the running platform, to look at. Pure.

It is an environment of its own: another id, another Compose project, other volumes, networks and ports. What is here
makes its service out of the platform's, and compares the figures of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.platform3.recovery.plugins.module_utils._catalog_text import WIDTH
from ansible_collections.platform3.recovery.plugins.module_utils._docker import ENVIRONMENT_LABEL
from ansible_collections.platform3.recovery.plugins.module_utils._errors import RecoveryError
from ansible_collections.platform3.recovery.plugins.module_utils._recovery_window import named
from ansible_collections.platform3.recovery.plugins.module_utils._times import short

LOOPBACK = "127.0.0.1"
# Names the component, so that the sandbox of one is dropped without the others'.
SANDBOX_LABEL = "platform3.recovery.sandbox"
# Restored tasks fire at once, and call whom they will.
QUIET = {"influxdb": {"INFLUXD_NO_TASKS": "true"}}
# The platform goes first where processors are short: a quarter of a container's usual share.
CPU_SHARES = 256
# What ties a service to its own project, or lets it come back by itself.
_LEFT_OUT = (
    "build", "container_name", "depends_on", "deploy", "env_file", "external_links", "labels", "links", "network_mode",
    "networks", "ports", "profiles", "restart",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a component's sandbox is. project: its Compose project; published: the port the platform publishes."""

    component: str
    service: str
    project: str
    platform_id: str
    environment_id: str
    published: int
    port: int

    @property
    def labels(self) -> dict[str, str]:
        """What everything of it carries, and nothing else."""
        return {ENVIRONMENT_LABEL: self.environment_id, SANDBOX_LABEL: self.component}


def sandbox_container(name: str) -> str:
    """The container of a sandbox beside the platform's of this name."""
    return f"{name}-sandbox"


def sandbox_file(config: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The Compose file of the sandbox's service, made of what `compose config` says of the platform's project.

    Volumes are new ones of its own, whatever the platform's are called or bound to; folders of the host are only read,
    the backup store among them; the network has no way out; the port is open on this host alone.
    RecoveryError PRC-432 where the service publishes no port that could be moved.
    """
    given = config["services"][place.service]
    service = {key: value for key, value in given.items() if key not in _LEFT_OUT}
    # An environment's own id: no volume of the one is ever taken for the other's.
    environment = {
        key: place.environment_id if value == place.platform_id else value
        for key, value in (given.get("environment") or {}).items()
    }
    mounts = [{**one, "read_only": True} if one["type"] == "bind" else dict(one) for one in given.get("volumes") or ()]
    named = sorted({one["source"] for one in mounts if one["type"] == "volume" and one.get("source")})
    service |= {
        "container_name": sandbox_container(given.get("container_name") or f"{config['name']}-{place.service}"),
        "labels": place.labels,
        "restart": "no",
        "cpu_shares": CPU_SHARES,
        "environment": {**environment, **QUIET.get(place.component, {})},
        "volumes": mounts,
        "ports": [_moved(given.get("ports") or (), place)],
        "networks": {"default": None},
    }
    network = {
        "name": f"{place.project}_{place.service}",
        "labels": place.labels,
        "driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
    }
    return {
        "name": place.project,
        "services": {place.service: service},
        "volumes": {name: {"labels": place.labels} for name in named},
        "networks": {"default": network},
        **{kind: _used(config, given, kind) for kind in ("secrets", "configs")},
    }


def _moved(ports: Sequence[Mapping[str, Any]], place: Place) -> dict[str, Any]:
    """The port that the platform publishes, on loopback and under the sandbox's number."""
    found = [one for one in ports if str(one.get("published")) == str(place.published)]
    if not found:
        raise RecoveryError(
            "PRC-432",
            f"find the port of service {place.service}",
            f"its Compose file publishes no port {place.published}",
            "nothing was changed",
            f"compare the port of {place.component} in the inventory with the Compose file",
        )
    target = {key: value for key, value in found[0].items() if key in ("target", "protocol", "mode")}
    return {**target, "host_ip": LOOPBACK, "published": str(place.port)}


def _used(config: Mapping[str, Any], service: Mapping[str, Any], kind: str) -> dict[str, Any]:
    wanted = {one["source"] for one in service.get(kind) or ()}
    return {name: one for name, one in (config.get(kind) or {}).items() if name in wanted}


def restored_from(entries: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Ids of the backup sets that a sandbox was made from, or is being. entries: its journal.

    Whoever drops it takes its lock too and names none; as long as the journal is there, what it named before stands.
    """
    started = [one for one in entries if one.get("event") == "run_started"]
    named = [one for entry in started for one in (entry.get("backup_set"), *(entry.get("backup_sets") or ()))]
    return frozenset(str(one) for one in named if one)


# --- looking ---------------------------------------------------------------------------------------------------------


def compare(running: Sequence[Mapping[str, Any]] | None, there: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The figures of the running platform beside the sandbox's, by what they count.

    Each is {what, count, newest}; running is None where that server does not answer. Gives what, running and sandbox
    (counts, null where it is not there), newest_running and newest_sandbox.
    """
    left = {str(one["what"]): one for one in running or ()}
    right = {str(one["what"]): one for one in there}
    return [
        {
            "what": what,
            "running": left.get(what, {}).get("count"),
            "sandbox": right.get(what, {}).get("count"),
            "newest_running": left.get(what, {}).get("newest"),
            "newest_sandbox": right.get(what, {}).get("newest"),
        }
        for what in [*right, *(name for name in left if name not in right)]
    ]


_ROW = "  {:<30} {:>13} {:>13} {:>13}  {}"


def card(record: Mapping[str, Any], compared: Mapping[str, Any]) -> list[str]:
    """The lines of the terminal. record: as roles/sandbox/tasks/complete.yml wrote it.

    compared: of each component compare's result; one whose figures could not be had has the reason instead, a text.
    """
    of = named(record["point_name"], record["wal_target"])
    lines = [f"== SANDBOX of {record['environment']} ".ljust(WIDTH, "=")]
    lines.append(
        f"  asked for   {record['target_time']}{f' ({of})' if of else ''}, from backup set {record['backup_set']}"
    )
    for name, one in record["components"].items():
        lines.append(f"  {name:<11} reached {one['reached']}, look at {one['address']}, container {one['container']}")
    lines += ["", _ROW.format("", "running", "sandbox", "difference", "newest running / sandbox").rstrip()]
    for name, rows in compared.items():
        lines.append(f"  {name}")
        lines += [f"    {rows}"] if isinstance(rows, str) else [_row(one) for one in rows]
    lines += ["", "  take it over (the running data goes to quarantine):", f"    {promotion(record)}"]
    lines += ["  or drop it:", "    ansible-playbook playbooks/sandbox_drop.yml", "=" * WIDTH]
    return lines


def _row(one: Mapping[str, Any]) -> str:
    counts = (one["running"], one["sandbox"])
    shown = ["-" if count is None else f"{count:,}" for count in counts]
    difference = "-" if None in counts else f"{one['sandbox'] - one['running']:+,}" if len(set(counts)) > 1 else "same"
    times = [one["newest_running"], one["newest_sandbox"]]
    newest = " / ".join(short(at) if at else "-" for at in times) if any(times) else ""
    return _ROW.format(f"  {one['what']}", *shown, difference, newest).rstrip()


def promotion(record: Mapping[str, Any]) -> str:
    """The command that brings the running platform to the very same point, from the very same set."""
    wal = record["wal_target"]
    if wal:
        target = f"recovery_target_{wal['kind']}={wal['value']}"
    elif record["point_name"]:
        target = f"recovery_point_name={record['point_name']}"
    else:
        target = f"recovery_target_time={record['target_time']}"
    environment = record["environment"]
    return (
        f"ansible-playbook point_in_time_recovery.yml -e {target} -e recovery_backup_set={record['backup_set']}"
        f" -e recovery_confirm={environment} -e recovery_replace_running={environment}"
    )
