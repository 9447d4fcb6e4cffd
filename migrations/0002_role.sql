-- The role that reads the slot: it may log in and replicate, and is granted nothing else. Capture reads the WAL and
-- the catalogue, never a table. Run as a superuser, or a role with CREATEROLE and REPLICATION. Safe to run again.
-- No password is set here: in psql, `\password ROLE` sets one without it reaching a log.
SET lock_timeout = '5s';
DO $bridge$
DECLARE
  role_name CONSTANT text := {role};
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
    EXECUTE format('CREATE ROLE %I LOGIN REPLICATION', role_name);
  ELSIF NOT EXISTS (
    SELECT FROM pg_roles WHERE rolname = role_name AND rolcanlogin AND (rolreplication OR rolsuper)
  ) THEN
    EXECUTE format('ALTER ROLE %I LOGIN REPLICATION', role_name);
  END IF;
END
$bridge$;
