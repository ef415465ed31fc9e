# SPDX-License-Identifier: GPL-3.0-or-later
"""The application of the lab's Platform3: one module a service, started as `python -m services.NAME`.

Settings come from the environment (names and defaults: `env(...)` in each module), secrets from files, one value each,
in `SECRETS_DIR` (default `/run/secrets`). Each service answers `/live` and, as it sees its datastores, `/health`.
"""
