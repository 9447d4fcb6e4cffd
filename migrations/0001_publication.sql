-- The publication: which tables, and of those which columns, leave the database.
-- Run as the owner of the tables, who needs CREATE on the database too (GRANT CREATE ON DATABASE … TO …). Safe to run
-- again: it changes only what differs. Locks: SHARE UPDATE EXCLUSIVE on the tables that come or go, for a moment; reads
-- and writes go on.
SET lock_timeout = {lock_timeout};
DO $bridge$
DECLARE
  publication CONSTANT text := {publication};
  wanted CONSTANT jsonb := {tables};
  operations CONSTANT text := 'insert, update, delete, truncate';
  made_by_us boolean;
  as_wanted boolean;
  wanted_list text;
  current_list text;
BEGIN
  -- "schema.table", with "(columns)" where some are excluded; ONLY, for tables that inherit go by their own names
  SELECT string_agg(
           format('ONLY %I.%I', w.t ->> 'schema', w.t ->> 'table')
           || CASE WHEN w.t -> 'exclude' = '[]' THEN '' ELSE (
                SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'
                FROM pg_attribute a
                WHERE a.attrelid = format('%I.%I', w.t ->> 'schema', w.t ->> 'table')::regclass
                  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
                  AND NOT (w.t -> 'exclude') ? a.attname) END,
           ', ' ORDER BY w.t ->> 'schema' COLLATE "C", w.t ->> 'table' COLLATE "C")
    INTO wanted_list
    FROM jsonb_array_elements(wanted) AS w(t);

  SELECT coalesce(obj_description(p.oid, 'pg_publication') LIKE '%"made_by": "fracttal-bridge"%', false),
         p.pubviaroot AND p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate
    INTO made_by_us, as_wanted
    FROM pg_publication p WHERE p.pubname = publication;
  IF NOT FOUND THEN
    EXECUTE format('CREATE PUBLICATION %I FOR TABLE %s WITH (publish = %L, publish_via_partition_root = true)',
                   publication, wanted_list, operations);
    EXECUTE format('COMMENT ON PUBLICATION %I IS %L', publication, jsonb_build_object('made_by', 'fracttal-bridge'));
    RETURN;
  END IF;
  IF NOT made_by_us THEN
    RAISE EXCEPTION 'publication % is there already, and its comment does not say that fracttal-bridge made it',
      quote_ident(publication)
      USING HINT = 'Give the source another `publication` in bridge.yaml.';
  END IF;

  SELECT string_agg(
           format('ONLY %I.%I', n.nspname, c.relname)
           || CASE WHEN r.prattrs IS NULL THEN '' ELSE (
                SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'
                FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::int2[])) END
           || CASE WHEN r.prqual IS NULL THEN '' ELSE ' WHERE' END,
           ', ' ORDER BY n.nspname, c.relname)
    INTO current_list
    FROM pg_publication_rel r
    JOIN pg_publication p ON p.oid = r.prpubid
    JOIN pg_class c ON c.oid = r.prrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.pubname = publication;
  IF current_list IS DISTINCT FROM wanted_list THEN
    EXECUTE format('ALTER PUBLICATION %I SET TABLE %s', publication, wanted_list);
  END IF;
  IF NOT as_wanted THEN
    EXECUTE format('ALTER PUBLICATION %I SET (publish = %L, publish_via_partition_root = true)',
                   publication, operations);
  END IF;
END
$bridge$;
