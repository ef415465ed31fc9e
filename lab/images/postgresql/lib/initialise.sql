-- SPDX-License-Identifier: GPL-3.0-or-later
-- Roles and the empty database. Passwords come from the secret files, never from a command line.
\set owner_password `cat /run/secrets/postgresql_password`
\set replication_password `cat /run/secrets/postgresql_replication_password`
SET password_encryption = 'scram-sha-256';
CREATE ROLE forex_admin LOGIN PASSWORD :'owner_password';
GRANT pg_monitor, pg_checkpoint TO forex_admin;
CREATE ROLE wal_receiver LOGIN REPLICATION PASSWORD :'replication_password';
CREATE DATABASE forex_trading OWNER forex_admin;
\connect forex_trading
CREATE EXTENSION amcheck;
-- amcheck's functions are the superuser's by default; the recovery checks indexes as the owner.
SELECT format('GRANT EXECUTE ON FUNCTION %s TO forex_admin', p.oid::regprocedure)
FROM pg_depend d
JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'amcheck'
JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
\gexec
\ir audit.sql
