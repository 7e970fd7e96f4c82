DROP TRIGGER IF EXISTS settings_commit ON public.settings_commits;
DROP TABLE IF EXISTS public.settings_pending;
ALTER TABLE public.settings_head DROP COLUMN IF EXISTS xid;

UPDATE public.settings_commits c SET id = n.id
  FROM (SELECT revision, coalesce((SELECT max(id) FROM public.settings_commits), 0) + row_number() OVER (ORDER BY revision) AS id
          FROM public.settings_commits WHERE id IS NULL) n
 WHERE n.revision = c.revision;
UPDATE public.settings_changes ch SET commit_id = c.id FROM public.settings_commits c
 WHERE c.revision = ch.revision AND ch.commit_id IS DISTINCT FROM c.id;

ALTER TABLE public.settings_changes
  DROP CONSTRAINT IF EXISTS settings_changes_pkey,
  ALTER COLUMN commit_id SET NOT NULL,
  ALTER COLUMN revision DROP NOT NULL,
  ADD CONSTRAINT settings_changes_pkey PRIMARY KEY (commit_id, key);
ALTER TABLE public.settings_commits
  DROP CONSTRAINT IF EXISTS settings_commits_pkey,
  ALTER COLUMN revision DROP NOT NULL,
  ALTER COLUMN id SET NOT NULL,
  ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY,
  ADD CONSTRAINT settings_commits_pkey PRIMARY KEY (id),
  ADD CONSTRAINT settings_commits_transaction UNIQUE (xid, began_at),
  ADD CONSTRAINT settings_commits_revision UNIQUE (revision);
SELECT setval(pg_get_serial_sequence('public.settings_commits', 'id'), coalesce(max(id), 0) + 1, false) FROM public.settings_commits;

CREATE OR REPLACE VIEW public.settings_history AS
SELECT c.revision, c.at, c.actor, c.role, c.reason, ch.key, ch.before, ch.after
  FROM public.settings_commits c
  JOIN public.settings_changes ch ON ch.commit_id = c.id
 WHERE c.revision IS NOT NULL;

CREATE OR REPLACE FUNCTION public.settings_stamp() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
  original jsonb;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF num_nonnulls(NEW.value_bool, NEW.value_int, NEW.value_float, NEW.value_text, NEW.value_time, NEW.value_json) = 1
       AND OLD.key = NEW.key AND public.settings_kind(OLD) <> public.settings_kind(NEW) THEN
      RAISE EXCEPTION 'setting "%" is of kind % and violates "platform_settings_kind_never_changes"', NEW.key, public.settings_kind(OLD)
        USING ERRCODE = 'check_violation', CONSTRAINT = 'platform_settings_kind_never_changes',
              SCHEMA = 'public', TABLE = 'platform_settings',
              HINT = format('Set value_%s, or delete the setting and create it anew.', public.settings_kind(OLD));
    END IF;
    NEW.updated_at := OLD.updated_at;
    NEW.updated_by := OLD.updated_by;
    IF OLD *= NEW THEN
      RETURN NEW;
    END IF;
  END IF;

  NEW.updated_at := now();
  NEW.updated_by := coalesce(nullif(left(current_setting('settings.actor', true), 200), ''), session_user);

  SELECT ch.before INTO original
    FROM public.settings_commits c
    JOIN public.settings_changes ch ON ch.commit_id = c.id
   WHERE c.xid = pg_current_xact_id() AND c.began_at = transaction_timestamp() AND ch.key = NEW.key;
  IF FOUND AND public.settings_same(original, to_jsonb(NEW)) THEN
    NEW.updated_at := original ->> 'updated_at';
    NEW.updated_by := original ->> 'updated_by';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION public.settings_touch(changed_key text, old_row jsonb, new_row jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  open_id bigint;
  stamped bigint;
BEGIN
  SELECT id, revision INTO open_id, stamped FROM public.settings_commits
   WHERE xid = pg_current_xact_id() AND began_at = transaction_timestamp();
  IF stamped IS NOT NULL THEN
    -- Its number is given and its notification queued; a second one would show
    -- every pod a state between the two that nobody committed.
    RAISE EXCEPTION 'settings were changed after SET CONSTRAINTS … IMMEDIATE had numbered this transaction''s changes'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Commit first, or leave the constraint settings_commit deferred.';
  ELSIF open_id IS NULL THEN
    -- An earlier SET CONSTRAINTS ALL IMMEDIATE would number the commit, and lock
    -- the head, long before COMMIT.
    SET CONSTRAINTS public.settings_commit DEFERRED;
    INSERT INTO public.settings_commits DEFAULT VALUES RETURNING id INTO open_id;
    INSERT INTO public.settings_changes (commit_id, key, before, after)
    VALUES (open_id, changed_key, old_row, new_row);
  ELSE
    INSERT INTO public.settings_changes (commit_id, key, before, after)
    VALUES (open_id, changed_key, old_row, new_row)
    ON CONFLICT (commit_id, key) DO UPDATE SET after = excluded.after;
    DELETE FROM public.settings_changes -- there and back is no change
     WHERE commit_id = open_id AND key = changed_key AND public.settings_same(before, after);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION public.settings_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '5s' SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
  changes  bigint;
  bytes    bigint;
  stamped  bigint;
  announce text;
  numbered timestamptz;
  message  text;
BEGIN
  SELECT count(*), coalesce(sum(pg_column_size(after)), 0) INTO changes, bytes
    FROM public.settings_changes WHERE commit_id = NEW.id;
  IF changes = 0 THEN
    DELETE FROM public.settings_commits WHERE id = NEW.id;
    RETURN NULL;
  END IF;

  UPDATE public.settings_head SET revision = revision + 1
  RETURNING revision, channel, clock_timestamp() INTO stamped, announce, numbered;
  UPDATE public.settings_commits
     SET revision = stamped, at = numbered, role = session_user,
         actor  = coalesce(nullif(left(current_setting('settings.actor', true), 200), ''), session_user),
         reason = nullif(left(current_setting('settings.reason', true), 4000), '')
   WHERE id = NEW.id;

  WITH changed AS (
    UPDATE public.settings_changes SET revision = stamped WHERE commit_id = NEW.id RETURNING settings_changes.key)
  SELECT json_build_object('revision', stamped, 'at', numbered, 'changes', json_agg(
           CASE WHEN s.key IS NULL
           THEN json_build_object('key', c.key, 'deleted', true)
           ELSE json_build_object('key', s.key, 'kind', public.settings_kind(s),
                  'value', coalesce(to_json(s.value_bool), to_json(s.value_int), to_json(s.value_float),
                                    to_json(s.value_text), to_json(s.value_time), s.value_json::json),
                  'description', s.description, 'public', s.public,
                  'updated_at', s.updated_at, 'updated_by', s.updated_by,
                  'digest', hash_record_extended(s, 0))
           END) FILTER (WHERE bytes < 8000))::text -- compressed bytes: a first guess, not to build megabytes in vain
    INTO message
    FROM changed c
    LEFT JOIN public.platform_settings s ON s.key = c.key;
  IF octet_length(message) > 7900 THEN
    message := json_build_object('revision', stamped, 'at', numbered)::text;
  END IF;
  PERFORM pg_notify(announce, message);
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER settings_commit AFTER INSERT ON public.settings_commits
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.settings_commit();
ALTER TABLE public.settings_commits ENABLE ALWAYS TRIGGER settings_commit;

CREATE OR REPLACE FUNCTION public.settings_history_prune(older_than interval) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH pruned AS (
    DELETE FROM public.settings_commits c
     WHERE c.at < now() - older_than
       AND NOT EXISTS (
         SELECT FROM public.settings_changes ch
          WHERE ch.commit_id = c.id
            AND ch.revision = (SELECT max(l.revision) FROM public.settings_changes l WHERE l.key = ch.key))
    RETURNING c.id),
  changes AS (
    DELETE FROM public.settings_changes WHERE commit_id IN (SELECT id FROM pruned))
  SELECT count(*) FROM pruned
$$;

CREATE OR REPLACE FUNCTION public.settings_await(revision bigint DEFAULT NULL, timeout interval DEFAULT '10 seconds')
RETURNS TABLE (pod text, has boolean, state text, at_revision bigint, last_seen timestamptz, closed_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
  deadline timestamptz := clock_timestamp() + least($2, interval '1 hour');
  wanted   bigint := $1;
  head     bigint;
  written_off uuid[]; -- lost at the start: they hold nobody up. Who is lost meanwhile does.
BEGIN
  IF EXISTS (SELECT FROM public.settings_commits c
              WHERE c.xid = pg_current_xact_id_if_assigned() AND c.began_at = transaction_timestamp()) THEN
    RAISE EXCEPTION 'this transaction has changed settings, and no pod can have that before COMMIT'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'COMMIT first, then call settings_await.';
  ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a transaction at isolation level % does not see what the pods report meanwhile', current_setting('transaction_isolation')
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Call settings_await outside of it.';
  END IF;
  IF (SELECT count(*) FROM pg_trigger t
       WHERE t.tgenabled IN ('A', 'O') AND t.tgrelid IN ('public.platform_settings'::regclass, 'public.settings_commits'::regclass)
         AND t.tgname IN ('settings_stamp', 'settings_row', 'settings_truncate', 'settings_commit')) < 4 THEN
    RAISE EXCEPTION 'the triggers of platform_settings are off, so a revision does not say what is in force'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'ENABLE ALWAYS TRIGGER settings_stamp, settings_row, settings_truncate, and settings_commit on settings_commits.';
  END IF;
  SELECT h.revision INTO head FROM public.settings_head h;
  IF wanted > head THEN
    RAISE EXCEPTION 'there is no revision % yet; the last one is %', wanted, head USING ERRCODE = 'invalid_parameter_value';
  END IF;
  wanted := coalesce(wanted, head);
  SELECT coalesce(array_agg(f.instance), '{}') INTO written_off FROM public.settings_fleet f WHERE f.state = 'lost';
  LOOP
    PERFORM FROM public.settings_fleet f
      WHERE coalesce(f.revision < wanted, true) AND f.closed_at IS NULL AND f.instance <> ALL (written_off);
    EXIT WHEN NOT FOUND OR clock_timestamp() >= deadline;
    PERFORM pg_sleep(0.01);
  END LOOP;
  RETURN QUERY SELECT f.pod, coalesce(f.revision >= wanted, false), f.state, f.revision, f.last_seen, f.closed_at
    FROM public.settings_fleet f ORDER BY f.pod;
END $$;
