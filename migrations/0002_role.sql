-- The role that reads the slot: it may log in and replicate, and is granted nothing else. Capture reads the WAL and
-- the catalogue, never a table. Run as a superuser; where there is none, as the provider's administrator, or from
-- PostgreSQL 16 on as a role with CREATEROLE and REPLICATION. Safe to run again: a role that is there already is only
-- given what it lacks. No lock.
-- No password is set here: in psql, `\password ROLE` sets one without it reaching a log.
SET lock_timeout = {lock_timeout};
DO $bridge$
DECLARE
  role_name CONSTANT text := {role};
  provider CONSTANT text := {provider};
  is_there boolean;
  may_log_in boolean;
  may_replicate boolean;
BEGIN
  IF provider = 'rds' AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') THEN
    RAISE EXCEPTION 'there is no role rds_replication: this server is neither RDS nor Aurora'
      USING HINT = 'Say another --provider, or none: it is recognised.';
  END IF;
  SELECT true, rolcanlogin, rolreplication OR rolsuper INTO is_there, may_log_in, may_replicate
    FROM pg_roles WHERE rolname = role_name;
  IF is_there IS NULL THEN
    EXECUTE format('CREATE ROLE %I LOGIN CONNECTION LIMIT 10', role_name);
    EXECUTE format('COMMENT ON ROLE %I IS %L', role_name, jsonb_build_object('made_by', 'fracttal-bridge'));
  ELSIF NOT may_log_in THEN
    EXECUTE format('ALTER ROLE %I LOGIN', role_name);
  END IF;
  -- RDS and Aurora know no REPLICATION for others than their own; membership stands for it
  IF provider = 'rds' THEN
    IF NOT pg_has_role(role_name, 'rds_replication', 'MEMBER') THEN
      EXECUTE format('GRANT rds_replication TO %I', role_name);
    END IF;
  ELSIF may_replicate IS NOT TRUE THEN
    EXECUTE format('ALTER ROLE %I REPLICATION', role_name);
  END IF;
END
$bridge$;
