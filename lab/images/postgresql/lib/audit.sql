-- SPDX-License-Identifier: GPL-3.0-or-later
-- Who takes data away is told in the platform's audit_log, once there is one. What tells it runs as a role that may do
-- nothing but insert there: so whoever may delete a row need not, and a trigger that the owner puts on audit_log does not
-- run as whoever drops something.
CREATE ROLE audit_writer NOLOGIN;

-- By statement, on the platform's tables (schema.sql). No service deletes rows, so each delete is told, however small; one
-- that found none is not. It is told after the fact, so also where audit_log itself is emptied; and by an insert, which
-- fires none of this.
CREATE FUNCTION audit_rows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found bigint;
BEGIN
    IF TG_OP = 'DELETE' THEN
        SELECT count(*) INTO found FROM gone;
    END IF;
    IF found = 0 THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.audit_log (at, actor, action, subject, detail)
    VALUES (clock_timestamp(), session_user, 'sql.' || lower(TG_OP), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME,
        jsonb_build_object('rows', found, 'transaction', pg_current_xact_id()::text,
            'application', current_setting('application_name'), 'address', host(inet_client_addr())));
    RETURN NULL;
END $$;
ALTER FUNCTION audit_rows() OWNER TO audit_writer;

-- What a statement drops by name, and each table that goes with it. Only a superuser may make an event trigger.
CREATE FUNCTION audit_drop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Not before it is made; nor where it is dropped itself, which the WAL alone tells then.
    IF to_regclass('public.audit_log') IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO public.audit_log (at, actor, action, subject, detail)
    SELECT clock_timestamp(), session_user, 'sql.drop', object_type || ' ' || object_identity,
        jsonb_build_object('transaction', pg_current_xact_id()::text,
            'application', current_setting('application_name'), 'address', host(inet_client_addr()))
    FROM pg_event_trigger_dropped_objects()
    -- platform3_...: what the recovery keeps and compares beside the platform's own tables.
    WHERE (original OR object_type IN ('table', 'materialized view')) AND NOT is_temporary
        AND coalesce(schema_name, object_name, '') NOT LIKE 'platform3\_%';
END $$;
ALTER FUNCTION audit_drop() OWNER TO audit_writer;
CREATE EVENT TRIGGER audit_drop ON sql_drop EXECUTE FUNCTION audit_drop();
