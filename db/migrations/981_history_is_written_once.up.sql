-- Every pod waits for COMMIT, so COMMIT does less: what a transaction changes is
-- noted in settings_pending, and the history is written once, complete. Before,
-- both of its tables were written twice, with ten entries in indexes for one
-- setting; now there are four.
--
--   INSERT/UPDATE/DELETE/TRUNCATE ─ row triggers ─▶ settings_pending (before, after)
--   COMMIT ─ deferred trigger on settings_pending ─▶ settings_head.revision + 1,
--                                                    settings_commits, settings_changes, pg_notify
--
-- settings_commits.id and settings_changes.commit_id are written no more. They
-- and the trigger on settings_commits that does nothing are for pods that are
-- older than this schema, and look for them.

-- Pods ask the tables in one order and writers in another, so whoever held some
-- and waited for others could lock up with either. This waits for the first one
-- only, and gives it back where the rest is not free; and it waits briefly, since
-- everybody else stands in line behind it.
DO $$ BEGIN
  PERFORM set_config('lock_timeout', '100ms', true);
  LOOP
    BEGIN
      LOCK TABLE public.platform_settings;
      LOCK TABLE public.settings_head, public.settings_commits, public.settings_changes, public.settings_history NOWAIT;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() > transaction_timestamp() + interval '1 minute' THEN
        RAISE;
      END IF;
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
END $$;

-- Empty but for transactions that are under way, and so unlogged: a crash ends
-- those. To the planner it is small, and a scan of it cheap; but what was deleted
-- stays until autovacuum comes, and a transaction may change a thousand keys. So
-- the functions have enable_seqscan off, and all that they ask for has an index:
-- else the planner would count the query dear enough to compile it.
--
-- (xid, began_at) is the transaction; a dump that is restored into a new cluster
-- could bring old xids along, so the xid is not enough.
CREATE UNLOGGED TABLE IF NOT EXISTS public.settings_pending (
  xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
  began_at timestamptz NOT NULL DEFAULT transaction_timestamp(),
  key      text COLLATE "C" NOT NULL,
  before   jsonb,
  after    jsonb,
  opens    boolean     NOT NULL,
  CONSTRAINT settings_pending_pkey PRIMARY KEY (xid, began_at, key)
) WITH (vacuum_truncate = off); -- which would lock writers out, again and again
COMMENT ON TABLE  public.settings_pending IS 'What transactions have changed that are still under way; COMMIT moves it to the history.';
COMMENT ON COLUMN public.settings_pending.opens IS 'The transaction''s first change, which has COMMIT number it.';

-- Without a number: left by a trigger that was off, and in no view.
DELETE FROM public.settings_changes WHERE revision IS NULL;
DELETE FROM public.settings_commits WHERE revision IS NULL;

CREATE OR REPLACE VIEW public.settings_history AS
SELECT c.revision, c.at, c.actor, c.role, c.reason, ch.key, ch.before, ch.after
  FROM public.settings_commits c
  JOIN public.settings_changes ch ON ch.revision = c.revision;

ALTER TABLE public.settings_head ADD COLUMN IF NOT EXISTS xid xid8;
COMMENT ON COLUMN public.settings_head.xid IS 'The transaction of the last commit.';
ALTER TABLE public.settings_changes
  DROP CONSTRAINT IF EXISTS settings_changes_pkey,
  ALTER COLUMN commit_id DROP NOT NULL,
  ADD CONSTRAINT settings_changes_pkey PRIMARY KEY (revision, key);
ALTER TABLE public.settings_commits
  DROP CONSTRAINT IF EXISTS settings_commits_pkey,
  DROP CONSTRAINT IF EXISTS settings_commits_transaction,
  DROP CONSTRAINT IF EXISTS settings_commits_revision,
  ALTER COLUMN id DROP IDENTITY IF EXISTS,
  ALTER COLUMN id DROP NOT NULL,
  ADD CONSTRAINT settings_commits_pkey PRIMARY KEY (revision);

CREATE OR REPLACE FUNCTION public.settings_stamp() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
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

  IF pg_current_xact_id_if_assigned() IS NULL THEN
    RETURN NEW; -- the transaction's first change
  END IF;
  SELECT p.before INTO original
    FROM public.settings_pending p
   WHERE p.xid = pg_current_xact_id() AND p.began_at = transaction_timestamp() AND p.key = NEW.key;
  IF FOUND AND public.settings_same(original, to_jsonb(NEW)) THEN
    NEW.updated_at := original ->> 'updated_at';
    NEW.updated_by := original ->> 'updated_by';
  END IF;
  RETURN NEW;
END $$;

-- Notes one key's change. Whoever could call it could forge history, so nobody
-- may but the triggers' owner.
CREATE OR REPLACE FUNCTION public.settings_touch(changed_key text, old_row jsonb, new_row jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  IF EXISTS (SELECT FROM public.settings_pending p
              WHERE p.xid = pg_current_xact_id() AND p.began_at = transaction_timestamp()) THEN
    INSERT INTO public.settings_pending (key, before, after, opens)
    VALUES (changed_key, old_row, new_row, false)
    ON CONFLICT (xid, began_at, key) DO UPDATE SET after = excluded.after;
    DELETE FROM public.settings_pending p -- there and back is no change
     WHERE p.xid = pg_current_xact_id() AND p.began_at = transaction_timestamp()
       AND p.key = changed_key AND public.settings_same(p.before, p.after);
    RETURN;
  END IF;
  -- An earlier SET CONSTRAINTS ALL IMMEDIATE would number the commit, and lock
  -- the head, long before COMMIT.
  SET CONSTRAINTS public.settings_commit DEFERRED;
  INSERT INTO public.settings_pending (key, before, after, opens)
  VALUES (changed_key, old_row, new_row, true);
END $$;

-- Runs once a transaction, inside COMMIT. lock_timeout is the function's own,
-- since statement_timeout does not cover commit-time triggers.
--
-- A notification carries the changed rows, so that a pod needs no query. Its
-- limit is 8000 bytes, and one over it would roll the writer back: then it
-- carries the revision alone, and pods read the table.
CREATE OR REPLACE FUNCTION public.settings_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET lock_timeout = '5s' SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
  changes  bigint;
  bytes    bigint;
  stamped  bigint;
  announce text;
  numbered timestamptz;
  message  text;
BEGIN
  SELECT count(*), coalesce(sum(pg_column_size(p.after)), 0) INTO changes, bytes
    FROM public.settings_pending p WHERE p.xid = NEW.xid AND p.began_at = NEW.began_at;
  IF changes = 0 THEN
    RETURN NULL;
  END IF;

  UPDATE public.settings_head SET revision = revision + 1, xid = pg_current_xact_id()
   WHERE only_row AND xid IS DISTINCT FROM pg_current_xact_id()
  RETURNING revision, channel, clock_timestamp() INTO stamped, announce, numbered;
  IF stamped IS NULL THEN
    -- Its notification is queued; a second one would show every pod a state
    -- between the two that nobody committed.
    RAISE EXCEPTION 'settings were changed after SET CONSTRAINTS … IMMEDIATE had numbered this transaction''s changes'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Commit first, or leave the constraint settings_commit deferred.';
  END IF;
  INSERT INTO public.settings_commits (revision, at, actor, role, reason)
  VALUES (stamped, numbered,
          coalesce(nullif(left(current_setting('settings.actor', true), 200), ''), session_user), session_user,
          nullif(left(current_setting('settings.reason', true), 4000), ''));

  WITH pending AS (
    DELETE FROM public.settings_pending p WHERE p.xid = NEW.xid AND p.began_at = NEW.began_at
    RETURNING p.key, p.before, p.after),
  changed AS (
    INSERT INTO public.settings_changes (revision, key, before, after)
    SELECT stamped, p.key, p.before, p.after FROM pending p
    RETURNING settings_changes.key)
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
  IF current_setting('settings.wait', true) IN ('on', 'true', 'yes', '1') THEN -- pods acknowledge at once
    message := left(message, -1) || ', "wait" : true}';
  END IF;
  PERFORM pg_notify(announce, message);
  RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS settings_commit ON public.settings_pending;
CREATE CONSTRAINT TRIGGER settings_commit AFTER INSERT ON public.settings_pending
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.opens) EXECUTE FUNCTION public.settings_commit();
ALTER TABLE public.settings_pending ENABLE ALWAYS TRIGGER settings_commit;

DROP TRIGGER IF EXISTS settings_commit ON public.settings_commits;
CREATE CONSTRAINT TRIGGER settings_commit AFTER INSERT ON public.settings_commits
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (false) EXECUTE FUNCTION public.settings_commit();
ALTER TABLE public.settings_commits ENABLE ALWAYS TRIGGER settings_commit;

CREATE OR REPLACE FUNCTION public.settings_history_prune(older_than interval) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH pruned AS (
    DELETE FROM public.settings_commits c
     WHERE c.at < now() - older_than
       AND NOT EXISTS (
         SELECT FROM public.settings_changes ch
          WHERE ch.revision = c.revision
            AND ch.revision = (SELECT max(l.revision) FROM public.settings_changes l WHERE l.key = ch.key))
    RETURNING c.revision),
  changes AS (
    DELETE FROM public.settings_changes WHERE revision IN (SELECT revision FROM pruned))
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
  IF EXISTS (SELECT FROM public.settings_pending p
              WHERE p.xid = pg_current_xact_id_if_assigned() AND p.began_at = transaction_timestamp())
     OR EXISTS (SELECT FROM public.settings_head h WHERE h.xid = pg_current_xact_id_if_assigned()) THEN
    RAISE EXCEPTION 'this transaction has changed settings, and no pod can have that before COMMIT'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'COMMIT first, then call settings_await.';
  ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a transaction at isolation level % does not see what the pods report meanwhile', current_setting('transaction_isolation')
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Call settings_await outside of it.';
  END IF;
  IF (SELECT count(*) FROM pg_trigger t
       WHERE t.tgenabled IN ('A', 'O') AND t.tgrelid IN ('public.platform_settings'::regclass, 'public.settings_pending'::regclass)
         AND t.tgname IN ('settings_stamp', 'settings_row', 'settings_truncate', 'settings_commit')) < 4 THEN
    RAISE EXCEPTION 'the triggers of platform_settings are off, so a revision does not say what is in force'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'ENABLE ALWAYS TRIGGER settings_stamp, settings_row, settings_truncate, and settings_commit on settings_pending.';
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
