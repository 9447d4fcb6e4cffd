-- The outbox: a table whose inserted rows become events. The application writes a row in the transaction that it is
-- about. Run as the owner of the tables, before the publication, which sends it. Safe to run again: a table that is
-- there is left as it is. Locks: none on other tables.
-- Whoever writes needs: GRANT USAGE ON SCHEMA {schema_name} TO …; GRANT INSERT ON {table_name} TO …;
SET lock_timeout = {lock_timeout};
DO $bridge$
DECLARE
  schema_name CONSTANT text := {schema};
  table_name CONSTANT text := {table};
  mark CONSTANT text := jsonb_build_object('made_by', 'fracttal-bridge')::text;
BEGIN
  IF to_regclass(format('%I.%I', schema_name, table_name)) IS NOT NULL THEN
    RETURN;
  END IF;
  IF to_regnamespace(quote_ident(schema_name)) IS NULL THEN
    EXECUTE format('CREATE SCHEMA %I', schema_name);
    EXECUTE format('COMMENT ON SCHEMA %I IS %L', schema_name, mark);
  END IF;
  EXECUTE format($make$
    CREATE TABLE %I.%I (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      tenant text,
      topic text NOT NULL,
      key jsonb,
      payload jsonb,
      created_at timestamptz NOT NULL DEFAULT now()
    )$make$, schema_name, table_name);
  EXECUTE format('COMMENT ON TABLE %I.%I IS %L', schema_name, table_name, mark);

  -- Deletes rows that are published: what it sees was committed before `upto`, so once the slot is confirmed beyond
  -- that, nobody will ask for it again. It commits between its steps, and gives up where capture stands. Its patience
  -- covers what capture holds back by default: sync_interval + 30 s.
  EXECUTE format($make$
    CREATE PROCEDURE %1$I.%3$I(slot name, keep interval DEFAULT '0', patience interval DEFAULT '5 minutes')
    LANGUAGE plpgsql AS $body$
    DECLARE
      gone bigint[];
      upto pg_lsn;
      confirmed pg_lsn;
      until timestamptz := clock_timestamp() + patience;
    BEGIN
      LOOP
        SELECT array_agg(o.id) INTO gone FROM (
          SELECT id FROM %1$I.%2$I WHERE created_at <= now() - keep ORDER BY id LIMIT 10000) o;
        upto := pg_current_wal_insert_lsn();
        EXIT WHEN gone IS NULL;
        LOOP
          COMMIT;
          SELECT s.confirmed_flush_lsn INTO confirmed FROM pg_replication_slots s WHERE s.slot_name = slot;
          IF NOT FOUND THEN
            RAISE EXCEPTION 'there is no slot %%: nothing was deleted', slot;
          END IF;
          EXIT WHEN confirmed >= upto;
          IF clock_timestamp() > until THEN
            RAISE NOTICE 'slot %% is not beyond %% yet: the rest is left for the next time', slot, upto;
            RETURN;
          END IF;
          PERFORM pg_sleep(0.2);
        END LOOP;
        DELETE FROM %1$I.%2$I WHERE id = ANY (gone);
        COMMIT;
        EXIT WHEN cardinality(gone) < 10000;
      END LOOP;
    END
    $body$
    $make$, schema_name, table_name, 'prune_' || table_name);
  EXECUTE format('COMMENT ON PROCEDURE %I.%I IS %L', schema_name, 'prune_' || table_name, mark);
END
$bridge$;
