-- The replication slot: from now on the server keeps WAL until it is published. Run after the publication, in the
-- same database, as a superuser; where there is none, as a role that may replicate and is a member of the publication's
-- owner, on whose publication it notes where the slot began. Safe to run again.
-- It waits for the transactions that are open now, as long as lock_timeout lets it; it locks no table.
SET lock_timeout = {slot_lock_timeout};
DO $bridge$
DECLARE
  slot CONSTANT text := {slot};
  publication CONSTANT text := {publication};
  owner oid;
  output_plugin CONSTANT text := {plugin};
  recorded jsonb;
  made_at pg_lsn;
BEGIN
  SELECT p.pubowner, obj_description(p.oid, 'pg_publication')::jsonb INTO owner, recorded
    FROM pg_publication p
    WHERE p.pubname = publication
      AND obj_description(p.oid, 'pg_publication') LIKE '%"made_by": "fracttal-bridge"%';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no publication % made by fracttal-bridge in this database', quote_ident(publication)
      USING HINT = 'Run the publication''s script first: a slot made before it could not read its changes.';
  END IF;
  IF EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = slot) THEN
    IF recorded ->> 'slot' IS DISTINCT FROM slot THEN
      RAISE EXCEPTION 'slot % is there already, and was not made for publication %', slot, quote_ident(publication)
        USING HINT = 'Give the source another `slot` in bridge.yaml, or drop this one: '
                     'SELECT pg_drop_replication_slot(' || quote_literal(slot) || ');';
    END IF;
    IF EXISTS (SELECT FROM pg_replication_slots s WHERE s.slot_name = slot AND s.plugin <> output_plugin) THEN
      RAISE EXCEPTION 'slot % is made for another plugin than %', slot, output_plugin
        USING HINT = '`bridge cdc drop`, then `bridge cdc setup`: events get ids of a new epoch.';
    END IF;
    RETURN;
  END IF;
  IF NOT pg_has_role(owner, 'USAGE') THEN
    RAISE EXCEPTION 'publication % belongs to %, and % may not note there where the slot begins',
      quote_ident(publication), pg_get_userbyid(owner), current_user
      USING ERRCODE = 'insufficient_privilege',
            HINT = format('As %I or an administrator: GRANT %I TO %I;', pg_get_userbyid(owner),
                          pg_get_userbyid(owner), current_user);
  END IF;
  -- temporary: no; two_phase: no, its transactions would be sent at PREPARE; failover: from PostgreSQL 17 on
  EXECUTE format(
      'SELECT lsn FROM pg_create_logical_replication_slot(%L, %L, false, false%s)', slot, output_plugin,
      CASE WHEN current_setting('server_version_num')::int >= 170000 THEN ', true' ELSE '' END)
    INTO made_at;
  BEGIN
    EXECUTE format(
      'COMMENT ON PUBLICATION %I IS %L', publication,
      jsonb_build_object('made_by', 'fracttal-bridge', 'slot', slot, 'slot_lsn', made_at));
  EXCEPTION WHEN OTHERS THEN
    PERFORM pg_drop_replication_slot(slot); -- it would be a slot of which nobody knows where it began
    RAISE;
  END;
END
$bridge$;
