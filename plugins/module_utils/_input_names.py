# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of variables: which are ours, which the plays set themselves, which the inventory must give."""

from __future__ import annotations

# Variables with these beginnings are ours, wherever they stand in an inventory.
PREFIXES = (
    "recovery_",
    "incident_",
    "postgresql_",
    "redis_",
    "influxdb_",
    "app_services_",
    "configuration_",
    "backup_",
    "platform_",
    "notify_",
    "schedule_",
    "second_copy_",
    "sandbox_",
)
# Extra variables that a controller sets by itself (AWX, its forerunner, Ansible).
FOREIGN_PREFIXES = ("awx_", "tower_", "ansible_")

# What the plays hand to each other. Given from outside, it would go around guard and lock.
INTERNAL = frozenset(
    (
        "recovery_fence",
        "recovery_set",
        "recovery_inputs",
        "recovery_store_host",
        "recovery_datastores",
        "recovery_parts",
        "recovery_in_place",
        "recovery_asked",
        "recovery_point_in_time",
        "recovery_named_point",
        "recovery_wal_target",
        "recovery_services",
        "recovery_others_serve",
        "recovery_scenario",
        "recovery_phase",
        "recovery_outcome",
        "recovery_quarantine_state",
        "recovery_state_folder",
        "backup_set",
    )
)

# What a sandbox has in place of the platform's. Given as an extra variable it would stand above that, and the restore
# would go into the running platform.
SANDBOX_OWN = frozenset(
    (
        "recovery_state_path",
        "postgresql_archiving",
        "postgresql_compose",
        "postgresql_container",
        "postgresql_environment_id",
        "postgresql_host",
        "postgresql_port",
        "postgresql_receiver_service",
        "postgresql_write_probe",
        "redis_compose",
        "redis_environment_id",
        "redis_host",
        "redis_port",
        "redis_shipper_service",
        "influxdb_compose",
        "influxdb_environment_id",
        "influxdb_port",
        "influxdb_url",
    )
)

# Inventory variables, so that they are known also where no role's argument spec names them.
INVENTORY_VARIABLES = frozenset(
    [
        "recovery_environment",
        "recovery_environment_id",
        "recovery_python",
        "recovery_compose",
        "recovery_component",
        "recovery_objectives",
        "recovery_state_path",
        "recovery_report_dir",
        "backup_store_path",
        "platform_gateway_url",
        "platform_dashboard_url",
        "platform_close_argv",
        "platform_open_argv",
        "platform_epoch_path",
        "platform_recovery_user",
        "platform_recovery_password",
        "platform_market_data_max_age_seconds",
        "platform_response_max_milliseconds",
        "postgresql_container",
        "postgresql_service",
        "postgresql_image",
        "postgresql_volume",
        "postgresql_host",
        "postgresql_port",
        "postgresql_database",
        "postgresql_owner",
        "postgresql_password",
        "postgresql_replication_password",
        "postgresql_stanza",
        "postgresql_restore_method",
        "redis_container",
        "redis_service",
        "redis_image",
        "redis_volume",
        "redis_host",
        "redis_port",
        "redis_user",
        "redis_password",
        "influxdb_container",
        "influxdb_service",
        "influxdb_image",
        "influxdb_volume",
        "influxdb_url",
        "influxdb_organisation",
        "influxdb_token",
        "influxdb_buckets",
        "app_services_image",
        "app_services_tiers",
    ]
)
