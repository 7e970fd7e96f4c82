-- One committed transaction, one revision, one notification, one place in the
-- history: for whatever SQL changed platform_settings, and without holding a
-- shared lock before COMMIT.
--
--   INSERT/UPDATE/DELETE/TRUNCATE ─ row triggers ─▶ settings_changes (before, after)
--                                                   settings_commits (one row, no revision yet)
--   COMMIT ─ deferred trigger on settings_commits ─▶ settings_head.revision + 1
--                                                    stamp commit and changes, pg_notify
--
-- The deferred trigger hangs on settings_commits and not on platform_settings:
-- a pending deferred event on the latter would make a later ALTER TABLE or
-- TRUNCATE in the same transaction fail.

-- One row, locked inside COMMIT only. LISTEN and NOTIFY have no access control
-- (PostgreSQL manual, NOTIFY), so the channel's name is a capability: random,
-- and readable only by this table's owner.
CREATE TABLE IF NOT EXISTS public.settings_head (
  only_row boolean NOT NULL DEFAULT true CONSTRAINT settings_head_only_row CHECK (only_row),
  revision bigint  NOT NULL DEFAULT 0,
  channel  text    NOT NULL DEFAULT 'platform_settings_' || replace(gen_random_uuid()::text, '-', '')
    CONSTRAINT settings_head_channel_format CHECK (channel ~ '^[a-z][a-z0-9_]{15,62}$'),
  CONSTRAINT settings_head_pkey PRIMARY KEY (only_row)
) WITH (fillfactor = 10); -- room for updates within the page
INSERT INTO public.settings_head DEFAULT VALUES ON CONFLICT DO NOTHING;

COMMENT ON TABLE  public.settings_head IS 'One row: the last revision, and the channel that commits are announced on.';
COMMENT ON COLUMN public.settings_head.revision IS 'The last commit''s number; commits are numbered 1, 2, 3 … in commit order.';
COMMENT ON COLUMN public.settings_head.channel  IS 'Whoever knows it can overhear and forge. Change it to rotate: pods follow within one TTL.';

-- (xid, began_at) finds the row again within its transaction. A dump that is
-- restored into a new cluster brings old xids along, so the xid is not enough.
CREATE TABLE IF NOT EXISTS public.settings_commits (
  id       bigint GENERATED ALWAYS AS IDENTITY,
  xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
  began_at timestamptz NOT NULL DEFAULT transaction_timestamp(),
  revision bigint,
  at       timestamptz,
  actor    text,
  role     text,
  reason   text,
  CONSTRAINT settings_commits_pkey PRIMARY KEY (id),
  CONSTRAINT settings_commits_transaction UNIQUE (xid, began_at),
  CONSTRAINT settings_commits_revision UNIQUE (revision)
);
COMMENT ON TABLE  public.settings_commits IS 'History: one row a transaction that changed settings.';
COMMENT ON COLUMN public.settings_commits.at     IS 'When it was numbered, inside COMMIT.';
COMMENT ON COLUMN public.settings_commits.actor  IS 'settings.actor, else the session user: who says they did it.';
COMMENT ON COLUMN public.settings_commits.role   IS 'The session user: who the database knows did it.';
COMMENT ON COLUMN public.settings_commits.reason IS 'settings.reason: why. The first 4000 characters.';

-- commit_id is an id of settings_commits. No foreign key says so: only the
-- functions below write here, and its check would cost each change a query.
CREATE TABLE IF NOT EXISTS public.settings_changes (
  commit_id bigint NOT NULL,
  key       text COLLATE "C" NOT NULL,
  revision  bigint,
  before    jsonb,
  after     jsonb,
  CONSTRAINT settings_changes_pkey PRIMARY KEY (commit_id, key)
);
CREATE INDEX IF NOT EXISTS settings_changes_latest ON public.settings_changes (key, revision DESC);
COMMENT ON TABLE  public.settings_changes IS 'History: one row a key and commit.';
COMMENT ON COLUMN public.settings_changes.before IS 'The row before the transaction; null if there was none.';
COMMENT ON COLUMN public.settings_changes.after  IS 'The row after the transaction; null if it was deleted.';

CREATE OR REPLACE VIEW public.settings_history AS
SELECT c.revision, c.at, c.actor, c.role, c.reason, ch.key, ch.before, ch.after
  FROM public.settings_commits c
  JOIN public.settings_changes ch ON ch.commit_id = c.id
 WHERE c.revision IS NOT NULL;
COMMENT ON VIEW public.settings_history IS 'One row a key and commit: who changed what, when and why.';

CREATE OR REPLACE FUNCTION public.settings_kind(s public.platform_settings) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN s.value_bool  IS NOT NULL THEN 'bool'
    WHEN s.value_int   IS NOT NULL THEN 'int'
    WHEN s.value_float IS NOT NULL THEN 'float'
    WHEN s.value_text  IS NOT NULL THEN 'text'
    WHEN s.value_time  IS NOT NULL THEN 'time'
    WHEN s.value_json  IS NOT NULL THEN 'json'
  END
$$;
COMMENT ON FUNCTION public.settings_kind(public.platform_settings) IS 'The kind of a setting: SELECT settings_kind(s) FROM platform_settings s.';

-- Whether two rows hold the same, whoever wrote them and when. As text, since
-- for jsonb 1.0 = 1 although they read differently.
CREATE OR REPLACE FUNCTION public.settings_same(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
  SELECT (a - 'updated_at' - 'updated_by')::text IS NOT DISTINCT FROM (b - 'updated_at' - 'updated_by')::text
$$;

-- Who and when: the stamp says when a value came to be, so a statement that
-- changes nothing keeps it, and so does a transaction that puts a value back.
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

-- Notes one key's change in the transaction's open commit. Whoever could call
-- it could forge history, so nobody may but the triggers' owner.
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
REVOKE ALL ON FUNCTION public.settings_touch(text, jsonb, jsonb) FROM PUBLIC;

-- The time zone and the float digits are pinned: they are the writer's own, and
-- would round or shift what history and pods get.
CREATE OR REPLACE FUNCTION public.settings_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM public.settings_touch(NEW.key, NULL, to_jsonb(NEW));
  ELSIF TG_OP = 'DELETE' THEN
    PERFORM public.settings_touch(OLD.key, to_jsonb(OLD), NULL);
  ELSIF OLD.key <> NEW.key THEN
    PERFORM public.settings_touch(OLD.key, to_jsonb(OLD), NULL);
    PERFORM public.settings_touch(NEW.key, NULL, to_jsonb(NEW));
  ELSIF OLD *<> NEW THEN -- byte by byte: for jsonb, 1.0 = 1 although they read differently
    PERFORM public.settings_touch(NEW.key, to_jsonb(OLD), to_jsonb(NEW));
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.settings_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
BEGIN
  PERFORM public.settings_touch(s.key, to_jsonb(s), NULL) FROM public.platform_settings s;
  RETURN NULL;
END $$;

-- Runs once a transaction, inside COMMIT. lock_timeout is the function's own,
-- since statement_timeout does not cover commit-time triggers.
--
-- A notification carries the changed rows, so that a pod needs no query. Its
-- limit is 8000 bytes, and one over it would roll the writer back: then it
-- carries the revision alone, and pods read the table.
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

-- PUBLIC may execute a new function, and make a temporary table to hang it on: it
-- would run with its owner's rights on whatever rows that table is given.
REVOKE ALL ON FUNCTION public.settings_stamp(), public.settings_row(), public.settings_truncate(), public.settings_commit() FROM PUBLIC;

CREATE OR REPLACE TRIGGER settings_stamp BEFORE INSERT OR UPDATE ON public.platform_settings
  FOR EACH ROW EXECUTE FUNCTION public.settings_stamp();
CREATE OR REPLACE TRIGGER settings_row AFTER INSERT OR UPDATE OR DELETE ON public.platform_settings
  FOR EACH ROW EXECUTE FUNCTION public.settings_row();
CREATE OR REPLACE TRIGGER settings_truncate BEFORE TRUNCATE ON public.platform_settings
  FOR EACH STATEMENT EXECUTE FUNCTION public.settings_truncate();
DROP TRIGGER IF EXISTS settings_commit ON public.settings_commits;
CREATE CONSTRAINT TRIGGER settings_commit AFTER INSERT ON public.settings_commits
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.settings_commit();

-- ALWAYS: also under session_replication_role = replica and logical replication.
ALTER TABLE public.platform_settings
  ENABLE ALWAYS TRIGGER settings_stamp,
  ENABLE ALWAYS TRIGGER settings_row,
  ENABLE ALWAYS TRIGGER settings_truncate;
ALTER TABLE public.settings_commits ENABLE ALWAYS TRIGGER settings_commit;

-- History is never pruned by itself. The latest change of each key stays: it is
-- the revision of the setting that stands.
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
REVOKE ALL ON FUNCTION public.settings_history_prune(interval) FROM PUBLIC;
COMMENT ON FUNCTION public.settings_history_prune(interval) IS 'Deletes commits older than that, but for the latest of each key; answers how many.';

-- What stands when the history begins is its first commit.
SELECT set_config('settings.reason', 'the settings that stood when history began', true),
       public.settings_touch(s.key, NULL, to_jsonb(s))
  FROM public.platform_settings s
 WHERE NOT EXISTS (SELECT FROM public.settings_commits);
