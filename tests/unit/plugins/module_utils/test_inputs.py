# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.platform3.recovery.plugins.module_utils import _input_forms as forms
from ansible_collections.platform3.recovery.plugins.module_utils import _input_names as names
from ansible_collections.platform3.recovery.plugins.module_utils import _inputs as inputs
from hypothesis import given
from hypothesis import strategies as st

GROUPS = {name: [f"host-{name}"] for name in inputs.GROUPS}
HOSTS = [hosts[0] for hosts in GROUPS.values()]


def codes(problems: list[inputs.Problem]) -> list[str]:
    return [one.code for one in problems]


def normal(**values: Any) -> dict[str, Any]:
    found, problems = inputs.normalise(values)
    assert problems == []
    return found


def refused(**values: Any) -> str:
    _found, problems = inputs.normalise(values)
    assert codes(problems) == ["PRC-102"]
    return problems[0].found


# --- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [None, "", "   "])
def test_empty_is_not_given_as_surveys_send_it(empty: Any) -> None:
    found = normal(recovery_id=empty, incident_at=empty, recovery_backup_set=empty, recovery_components=empty)
    assert found["recovery_id"] is None and found["incident_at"] is None
    assert found["recovery_backup_set"] == "latest" and found["recovery_components"] is None


@pytest.mark.parametrize(
    "value",
    ["redis,postgresql", "redis, postgresql", "redis postgresql", ["redis", "postgresql"], "[redis, 'postgresql']"],
)
def test_components_in_every_form_in_the_platforms_order(value: Any) -> None:
    assert normal(recovery_components=value)["recovery_components"] == ["postgresql", "redis"]


def test_a_component_named_twice_is_taken_once() -> None:
    assert normal(recovery_components="Redis,redis")["recovery_components"] == ["redis"]


def test_unknown_components_are_all_named_with_the_nearest() -> None:
    found = refused(recovery_components="redsi,postgres,influxdb")
    assert "'redsi', did you mean 'redis'" in found and "'postgres', did you mean 'postgresql'" in found


@pytest.mark.parametrize("value", [",", " , ", []])
def test_a_list_of_nothing_is_refused(value: Any) -> None:
    assert "names no component" in refused(recovery_components=value)


@pytest.mark.parametrize("value", ["20261123T051700Z-full", "a", "A.b_c-1", 42, "x" * 64])
def test_ids_that_are_taken(value: Any) -> None:
    assert normal(recovery_id=value)["recovery_id"] == str(value)


@pytest.mark.parametrize("value", ["../x", "a/b", "-x", ".", "..", "a b", "x" * 65, "ä", "a\nb", "$(id)"])
def test_ids_that_could_leave_their_folder_are_refused(value: str) -> None:
    assert "recovery_id" in refused(recovery_id=value)


@given(st.text(max_size=70))
def test_an_id_is_always_one_plain_folder_name(value: str) -> None:
    found, problems = inputs.normalise({"recovery_id": value})
    name = found["recovery_id"]
    assert problems or name is None or ("/" not in name and not name.startswith(".") and 0 < len(name) <= 64)


def test_an_instant_comes_out_in_utc() -> None:
    found = normal(incident_at="2026-11-23T06:17:00+01:00", recovery_target_time="2026-11-23 05:00:00Z")
    assert found["incident_at"] == "2026-11-23T05:17:00.000Z"
    assert found["recovery_target_time"] == "2026-11-23T05:00:00.000Z"


@pytest.mark.parametrize("value", ["2026-11-23T05:17:00", "2026-11-23", "five"])
def test_an_instant_without_offset_or_sense_is_refused(value: str) -> None:
    assert "incident_at" in refused(incident_at=value)


def test_a_place_in_the_wal_comes_out_as_the_server_writes_it() -> None:
    found = normal(recovery_target_lsn=" 16/b374d848 ", recovery_target_xid=771)
    assert (found["recovery_target_lsn"], found["recovery_target_xid"]) == ("16/B374D848", "771")
    assert inputs.wal_target(normal(recovery_target_lsn="0/A")) == {"kind": "lsn", "value": "0/A"}
    assert inputs.wal_target(normal(recovery_target_xid="12884901965")) == {"kind": "xid", "value": "12884901965"}
    assert inputs.wal_target(normal(recovery_target_time="2026-11-23T05:00:00Z")) == {}


@pytest.mark.parametrize("value", ["16B374D848", "16/", "/1", "0x16/1", "1_6/1", "123456789/0", "16/ 1", 16])
def test_a_malformed_position_is_refused(value: Any) -> None:
    assert "16/B374D848" in refused(recovery_target_lsn=value)


@pytest.mark.parametrize("value", ["-4", "2", 0, "0x10", "1e3", "7 8", str(5 << 32), True, "9" * 20])
def test_a_malformed_transaction_id_is_refused(value: Any) -> None:
    assert "a number from 3 on" in refused(recovery_target_xid=value)


def test_what_is_missing_is_said() -> None:
    assert "no offset" in refused(recovery_target_time="2026-11-23T05:17:00")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("2026-10-25T02:30:00 Europe/Berlin", ["twice", "2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"]),
        ("2026-10-25 02:30 CET", ["twice", "2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"]),
        ("2026-03-29T02:30:00[Europe/Berlin]", ["no such time in Europe/Berlin"]),
        ("2026-07-01T02:30:00 America/New_York", ["that is 2026-07-01T02:30:00-04:00"]),
        ("2026-07-01T02:30:00 Middle/Earth", ["is not a date and time as in"]),
        ("2026-07-01T02:30:00 ../Berlin", ["is not a date and time as in"]),
    ],
)
def test_a_local_time_is_refused_with_the_instants_that_it_can_mean(value: str, words: list[str]) -> None:
    said = refused(recovery_target_time=value)
    assert all(one in said for one in words), said


@pytest.mark.parametrize("value", ["yes", "Yes", "true", "1", "on", True])
def test_words_for_yes(value: Any) -> None:
    assert normal(rollback_discard=value)["rollback_discard"] is True


@pytest.mark.parametrize("value", ["no", "False", "0", "off", False, ""])
def test_words_for_no(value: Any) -> None:
    assert normal(rollback_discard=value)["rollback_discard"] is False


def test_a_word_for_neither_is_refused() -> None:
    assert "yes or no" in refused(rollback_discard="perhaps")


@pytest.mark.parametrize("value", ["../20261123T051700Z", "/etc", "20261123", "Latest ", "newest"])
def test_a_set_is_latest_or_an_id(value: str) -> None:
    assert "backup set" in refused(recovery_backup_set=value)


# --- names -----------------------------------------------------------------------------------------------------------

KNOWN = names.INVENTORY_VARIABLES


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("recovry_id", "recovery_id"),
        ("recovery_confrim", "recovery_confirm"),
        ("incident_time", "incident_type"),
        ("recovery_component", None),
        ("postgresql_restore_metod", "postgresql_restore_method"),
        ("recovery_backupset", "recovery_backup_set"),
    ],
)
def test_an_unknown_extra_variable_names_the_nearest(name: str, like: str | None) -> None:
    problems = inputs.unknown_extra_variables([name], KNOWN)
    if like is None:
        assert problems == []  # an inventory variable; known
    else:
        assert codes(problems) == ["PRC-101"] and repr(like) in problems[0].found and like in problems[0].next_step


def test_nothing_near_is_not_guessed() -> None:
    problems = inputs.unknown_extra_variables(["colour"], KNOWN)
    assert codes(problems) == ["PRC-101"] and "did you mean" not in problems[0].found


@pytest.mark.parametrize("name", ["awx_job_id", "tower_user_name", "ansible_python_interpreter"])
def test_what_controllers_set_is_let_through(name: str) -> None:
    assert inputs.unknown_extra_variables([name], KNOWN) == []


@pytest.mark.parametrize("name", sorted(names.INTERNAL) + ["__recovery_lock", "__recovery_inputs"])
def test_what_the_plays_hand_to_each_other_cannot_be_given(name: str) -> None:
    assert codes(inputs.unknown_extra_variables([name], KNOWN | {name})) == ["PRC-103"]
    if name.startswith(names.PREFIXES):
        assert codes(inputs.unknown_inventory_variables({name: "all"}, KNOWN | {name})) == ["PRC-104"]


def test_inventory_variables_with_our_prefixes_must_be_known_others_are_not_ours() -> None:
    names = {"redis_prot": "group redis", "redis_port": "group redis", "site_name": "all", "lab_root": "all"}
    problems = inputs.unknown_inventory_variables(names, KNOWN)
    assert codes(problems) == ["PRC-104"]
    assert (
        "'redis_prot'" in problems[0].found and "group redis" in problems[0].found and "redis_port" in problems[0].found
    )


@given(st.sampled_from(sorted(inputs.INPUTS)), st.integers(0, 30))
def test_one_letter_left_out_finds_the_name_again(name: str, at: int) -> None:
    wrong = name[: at % len(name)] + name[at % len(name) + 1 :]
    assert forms.nearest(wrong, inputs.INPUTS) == name


# --- groups and options ----------------------------------------------------------------------------------------------


def test_a_whole_inventory_has_no_problem() -> None:
    assert inputs.group_problems(GROUPS) == inputs.shared_host_problems(GROUPS) == []


@pytest.mark.parametrize("name", inputs.GROUPS)
def test_missing_empty_and_two_host_groups_are_told_apart(name: str) -> None:
    missing = {key: hosts for key, hosts in GROUPS.items() if key != name}
    assert codes(inputs.group_problems(missing)) == ["PRC-110"]
    assert codes(inputs.group_problems({**GROUPS, name: []})) == ["PRC-111"]
    two = inputs.group_problems({**GROUPS, name: ["b", "a"]})
    assert codes(two) == ["PRC-112"] and "(a, b)" in two[0].found


def test_a_misspelt_group_is_pointed_at() -> None:
    groups = {("postgresq" if name == "postgresql" else name): hosts for name, hosts in GROUPS.items()}
    assert "it has 'postgresq'" in inputs.group_problems(groups)[0].found


def test_one_host_in_two_groups_is_refused() -> None:
    problems = inputs.shared_host_problems({**GROUPS, "redis": GROUPS["influxdb"]})
    assert codes(problems) == ["PRC-113"] and "redis and influxdb" in problems[0].found


def test_a_limit_that_leaves_all_is_let_through() -> None:
    assert inputs.limit_problems("all", [*HOSTS, "other"], GROUPS) == []
    assert inputs.limit_problems(None, [], GROUPS) == []


def test_a_limit_that_leaves_one_out_is_refused() -> None:
    problems = inputs.limit_problems("!host-redis", [host for host in HOSTS if host != "host-redis"], GROUPS)
    assert (
        codes(problems) == ["PRC-114"]
        and "host-redis" in problems[0].found
        and "partial_recovery" in problems[0].next_step
    )


@pytest.mark.parametrize(
    ("tags", "skip", "start", "count"),
    [
        (["all"], [], None, 0),
        ([], [], None, 0),
        (["restore"], [], None, 1),
        (["all", "restore"], [], None, 1),
        (["all"], ["always"], None, 1),
        (["all"], [], "restore | x", 1),
        (["x"], ["y"], "z", 3),
    ],
)
def test_options_that_skip_tasks_are_refused(tags: list[str], skip: list[str], start: str | None, count: int) -> None:
    assert codes(inputs.skipping_problems(tags, skip, start)) == ["PRC-115"] * count


# --- confirmation and scenario ---------------------------------------------------------------------------------------


def test_a_missing_and_a_wrong_confirmation_are_told_apart() -> None:
    assert codes(inputs.confirm_problems("lab", None)) == codes(inputs.confirm_problems("lab", " ")) == ["PRC-105"]
    wrong = inputs.confirm_problems("production", "lab")
    assert codes(wrong) == ["PRC-106"] and "'lab'" in wrong[0].found and "'production'" in wrong[0].found
    assert inputs.confirm_problems("lab", "lab") == []


def test_replace_running_repeats_the_name_or_is_left_out() -> None:
    assert inputs.replace_running_problems("lab", None) == inputs.replace_running_problems("lab", "lab") == []
    assert codes(inputs.replace_running_problems("lab", "yes")) == ["PRC-107"]


def test_a_full_recovery_of_some_components_names_the_partial_one() -> None:
    problems = inputs.scenario_problems("full", normal(recovery_components="redis"))
    assert (
        codes(problems) == ["PRC-108"] and "partial_recovery.yml -e recovery_components=redis" in problems[0].next_step
    )


@pytest.mark.parametrize(
    ("scenario", "given_inputs", "code"),
    [
        ("partial", {}, "PRC-108"),
        ("full", {"recovery_target_time": "2026-11-23T05:00:00Z"}, "PRC-109"),
        ("point_in_time", {}, "PRC-109"),
        ("point_in_time", {"recovery_target_time": "2026-11-23T05:00:00Z", "recovery_point_name": "x"}, "PRC-109"),
        ("recovery_window", {"recovery_target_time": "2026-11-23T05:00:00Z", "recovery_point_name": "x"}, "PRC-109"),
        ("full", {"recovery_point_name": "before_release"}, "PRC-109"),
        ("partial", {"recovery_target_lsn": "0/5000118", "recovery_components": "postgresql"}, "PRC-109"),
        ("point_in_time", {"recovery_target_xid": "771", "recovery_target_lsn": "0/5000118"}, "PRC-109"),
        ("recovery_window", {"recovery_target_xid": "771", "recovery_point_name": "x"}, "PRC-109"),
        ("restore_point", {"recovery_target_xid": "771", "recovery_point_name": "x"}, "PRC-118"),
        ("recovery_window", {"recovery_target_lsn": "0/5000118", "recovery_components": "redis,influxdb"}, "PRC-121"),
        ("restore_point", {}, "PRC-117"),
        ("restore_point", {"recovery_target_time": "2026-11-23T05:00:00Z", "recovery_point_name": "x"}, "PRC-118"),
        (
            "point_in_time",
            {"recovery_target_time": "2026-11-23T05:00:00Z", "recovery_components": ["redis"]},
            "PRC-108",
        ),
        ("find_moment", {}, "PRC-119"),
        ("abandon", {}, "PRC-116"),
        ("rollback", {}, "PRC-116"),
    ],
)
def test_what_does_not_go_together(scenario: str, given_inputs: dict[str, str], code: str) -> None:
    assert codes(inputs.scenario_problems(scenario, normal(**given_inputs))) == [code]


@pytest.mark.parametrize(
    ("scenario", "given_inputs"),
    [
        ("full", {}),
        ("backup", {}),
        ("partial", {"recovery_components": "redis"}),
        ("point_in_time", {"recovery_target_time": "2026-11-23T05:00:00Z"}),
        ("point_in_time", {"recovery_id": "x"}),
        ("partial", {"recovery_id": "x"}),
        ("point_in_time", {"recovery_point_name": "before_release"}),
        ("point_in_time", {"recovery_target_lsn": "0/5000118"}),
        ("point_in_time", {"recovery_target_xid": "771"}),
        ("recovery_window", {"recovery_target_xid": "771"}),
        ("recovery_window", {}),
        ("recovery_window", {"recovery_target_time": "2026-11-23T05:00:00Z"}),
        ("recovery_window", {"recovery_point_name": "before_release"}),
        ("restore_point", {"recovery_point_name": "before_release"}),
        ("rollback", {"recovery_id": "x"}),
        ("find_moment", {"recovery_around": "2026-11-23T05:00:00+01:00", "recovery_window_seconds": "60"}),
    ],
)
def test_what_goes_together(scenario: str, given_inputs: dict[str, str]) -> None:
    assert inputs.scenario_problems(scenario, normal(**given_inputs)) == []


def test_a_place_in_the_wal_without_postgresql_says_who_cannot_share_it() -> None:
    given = normal(recovery_target_xid="771", recovery_components="redis,influxdb")
    problems = inputs.scenario_problems("point_in_time", given)
    assert codes(problems) == ["PRC-108", "PRC-121"]
    assert "redis and influxdb cannot be brought to it" in problems[1].found
    assert "recovery_target_time" in problems[1].next_step


@pytest.mark.parametrize("value", [1, "600", 86400])
def test_a_window_is_seconds(value: Any) -> None:
    assert forms.window(value) == int(value)


@pytest.mark.parametrize("value", [0, -1, 86401, "1.5", "ten", True])
def test_a_window_of_nothing_or_more_than_a_day_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="1 to 86400"):
        forms.window(value)


def test_a_time_to_search_around_needs_its_offset() -> None:
    problems = inputs.normalise({"recovery_around": "2026-11-23T05:00:00"})[1]
    assert codes(problems) == ["PRC-102"] and "offset" in problems[0].found


# --- messages --------------------------------------------------------------------------------------------------------


def test_one_problem_is_said_under_its_own_number() -> None:
    problems = inputs.confirm_problems("lab", None)
    assert inputs.message(problems, "full").startswith("[PRC-105] Could not start full_recovery.yml: recovery_confirm")
    assert inputs.as_error(problems, "full")["code"] == "PRC-105"


def test_several_problems_are_all_said_at_once() -> None:
    problems = inputs.confirm_problems("lab", None) + inputs.unknown_extra_variables(["recovry_id"], KNOWN)
    text = inputs.message(problems, "full")
    assert text.startswith("[PRC-100]") and "PRC-105" in text and "PRC-101" in text and "nothing was touched" in text
    assert inputs.as_error(problems, "full")["codes"] == ["PRC-105", "PRC-101"]


def test_a_new_id_is_its_second_and_its_scenario() -> None:
    assert inputs.new_recovery_id("full", 1795411020.9) == "20261123T051700Z-full"
    assert forms.identifier(inputs.new_recovery_id("point_in_time", 1795411020.0))


# --- backups ---------------------------------------------------------------------------------------------------------


def test_a_backup_is_full_unless_an_increment_is_asked_for() -> None:
    assert (normal()["backup_set_kind"], normal()["backup_set_components"]) == ("full", None)
    given_ones = normal(backup_set_kind=" Increment ", backup_set_components="redis, influxdb")
    assert (given_ones["backup_set_kind"], given_ones["backup_set_components"]) == ("increment", ["redis", "influxdb"])
    assert inputs.scenario_problems("backup", given_ones) == []


def test_a_kind_or_component_that_no_set_has_is_named_with_the_nearest() -> None:
    assert "did you mean 'increment'" in refused(backup_set_kind="incremental")
    assert "'influxbd', did you mean 'influxdb'" in refused(backup_set_components=["influxbd"])
    assert "(there are postgresql, redis, influxdb, configuration" in refused(backup_set_components="app_services")


def test_a_full_backup_holds_every_component() -> None:
    found = inputs.scenario_problems("backup", normal(backup_set_components="influxdb"))
    assert codes(found) == ["PRC-108"] and "-e backup_set_kind=increment" in found[0].next_step
