-- A write does less once more. Triggers no longer look up what the transaction has
-- done so far, but where the row's own stamp says that it was changed in it; what a
-- notification says of a row is written down beside the row, by the trigger that
-- has it; SET CONSTRAINTS is run only where somebody else ran it; and the rules of
-- several columns are one function that needs no settings of its own.
--
-- New is settings.announce: where it is on, an UPDATE that changes nothing is a
-- commit all the same. It tells every pod of rows that were changed while the
-- triggers were off.

-- Pods ask the tables in one order and writers in another, so whoever held some
-- and waited for others could lock up with either. This waits for the first one
-- only, and gives it back where the rest is not free; and it waits briefly, since
-- everybody else stands in line behind it.
DO $$ BEGIN
  PERFORM set_config('lock_timeout', '100ms', true);
  LOOP
    BEGIN
      LOCK TABLE public.platform_settings;
      LOCK TABLE public.settings_head, public.settings_pending NOWAIT;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() > transaction_timestamp() + interval '1 minute' THEN
        RAISE;
      END IF;
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
END $$;

-- Anyone who writes runs it, with a search_path of its own; a SET here would be
-- paid for by each write.
CREATE OR REPLACE FUNCTION public.settings_valid(
  key text, value_bool boolean, value_int bigint, value_float double precision, value_text text, value_time timestamptz, value_json jsonb)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF pg_catalog.num_nonnulls(value_bool, value_int, value_float, value_text, value_time, value_json) OPERATOR(pg_catalog.<>) 1 THEN
    RETURN false;
  END IF;
  IF (CASE
      WHEN key OPERATOR(pg_catalog.=) ANY ('{maintenance_mode,maintenance_read_only}')     THEN value_bool IS NULL
      WHEN key OPERATOR(pg_catalog.=) ANY ('{maintenance_starts_at,maintenance_ends_at}')  THEN value_time IS NULL
      WHEN key OPERATOR(pg_catalog.=) 'maintenance_message'                                THEN value_text IS NULL
      WHEN key OPERATOR(pg_catalog.=) 'maintenance_retry_after' -- in seconds, up to a day
        THEN value_int IS NULL OR value_int OPERATOR(pg_catalog.<) 1 OR value_int OPERATOR(pg_catalog.>) 86400
    END) THEN
    RAISE EXCEPTION 'setting "%" violates "platform_settings_well_known_kind"', key
      USING ERRCODE = 'check_violation', CONSTRAINT = 'platform_settings_well_known_kind',
            SCHEMA = 'public', TABLE = 'platform_settings',
            HINT = 'maintenance_mode and _read_only are bool; _message is text; _retry_after is int, 1 to 86400; _starts_at and _ends_at are time.';
  END IF;
  RETURN true;
END $$;
ALTER TABLE public.platform_settings
  DROP CONSTRAINT IF EXISTS platform_settings_well_known_kind,
  DROP CONSTRAINT IF EXISTS platform_settings_exactly_one_value,
  ADD CONSTRAINT platform_settings_exactly_one_value
    CHECK (public.settings_valid(key, value_bool, value_int, value_float, value_text, value_time, value_json));
DROP FUNCTION IF EXISTS public.settings_well_known_kind(text, boolean, bigint, text, timestamptz);

-- Whoever writes needs it, as for any function in a CHECK; default privileges may
-- have taken it away.
DO $$ BEGIN
  IF NOT has_function_privilege('public',
    'public.settings_valid(text, boolean, bigint, double precision, text, timestamptz, jsonb)', 'EXECUTE') THEN
    GRANT EXECUTE ON FUNCTION public.settings_valid(text, boolean, bigint, double precision, text, timestamptz, jsonb) TO PUBLIC;
  END IF;
END $$;

DROP TRIGGER IF EXISTS settings_commit ON public.settings_pending;
ALTER TABLE public.settings_pending
  ADD COLUMN IF NOT EXISTS note  text,
  ADD COLUMN IF NOT EXISTS again boolean,
  ALTER COLUMN opens DROP NOT NULL;
COMMENT ON COLUMN public.settings_pending.note  IS 'What the notification is to say of the key.';
COMMENT ON COLUMN public.settings_pending.again IS 'True: the key was changed twice or more, and may be as it was before.';
COMMENT ON COLUMN public.settings_pending.opens IS 'Written no more.'; -- 981 names it, and may be run again

CREATE OR REPLACE FUNCTION public.settings_stamp() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD *= NEW -- byte by byte: for jsonb, 1.0 = 1 although they read differently
     AND coalesce(current_setting('settings.announce', true), '') NOT IN ('on', 'true', 'yes', '1') THEN
    RETURN NEW;
  END IF;
  -- Nearly always it is the transaction's first change of the key.
  IF NEW.updated_at IS DISTINCT FROM OLD.updated_at OR NEW.updated_by IS DISTINCT FROM OLD.updated_by OR OLD.updated_at = now() OR OLD.key <> NEW.key THEN
    NEW := public.settings_stamped(OLD, NEW);
    RETURN NEW;
  END IF;
  NEW.updated_at := now();
  NEW.updated_by := coalesce(nullif(left(current_setting('settings.actor', true), 200), ''), session_user);
  RETURN NEW;
END $$;

-- The row that is to be, with its stamps: the old ones where nothing else changes,
-- those from before the transaction where it is again what it was, else new ones.
CREATE OR REPLACE FUNCTION public.settings_stamped(old_row public.platform_settings, new_row public.platform_settings)
RETURNS public.platform_settings
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
  original jsonb;
BEGIN
  new_row.updated_at := old_row.updated_at;
  new_row.updated_by := old_row.updated_by;
  IF old_row *= new_row THEN
    RETURN new_row;
  END IF;
  SELECT p.before INTO original
    FROM public.settings_pending p
   WHERE p.xid = pg_current_xact_id_if_assigned() AND p.began_at = transaction_timestamp() AND p.key = new_row.key;
  new_row.updated_at := original ->> 'updated_at';
  new_row.updated_by := original ->> 'updated_by';
  IF original::text = to_jsonb(new_row)::text THEN
    RETURN new_row;
  END IF;
  new_row.updated_at := now();
  new_row.updated_by := coalesce(nullif(left(current_setting('settings.actor', true), 200), ''), session_user);
  RETURN new_row;
END $$;

-- What a notification says of a row; without one, of a key that is deleted.
CREATE OR REPLACE FUNCTION public.settings_note(key text, s public.platform_settings) RETURNS text
LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN s.key IS NULL THEN format('{"key" : "%s", "deleted" : true}', key)
    ELSE format('{"key" : "%s", "kind" : "%s", "value" : %s, "description" : %s, "public" : %s, "updated_at" : %s, "updated_by" : %s, "digest" : %s}',
      s.key, public.settings_kind(s),
      coalesce(to_json(s.value_bool), to_json(s.value_int), to_json(s.value_float), to_json(s.value_text), to_json(s.value_time), s.value_json::json),
      to_json(s.description), to_json(s.public), to_json(s.updated_at), to_json(s.updated_by), hash_record_extended(s, 0))
  END
$$;

-- Corrects what is noted of a key that was changed before, from the table: a change
-- that somebody's own trigger makes in reply to another is noted first, and may be
-- the one that stands. What was before the transaction has another stamp than its
-- own; where nothing has, a change that was noted in reply to this one began with it.
CREATE OR REPLACE FUNCTION public.settings_changed_again(changed text, was jsonb, became jsonb) RETURNS void
LANGUAGE sql SET enable_seqscan = off AS $$
  UPDATE public.settings_pending p
     SET before = CASE
           WHEN (p.before ->> 'updated_at')::timestamptz <> now() THEN p.before
           WHEN (was ->> 'updated_at')::timestamptz <> now() THEN was
           WHEN p.before = became AND (was IS NULL OR became IS DISTINCT FROM stands.after) THEN was
           ELSE p.before END,
         after = stands.after, note = stands.note
    FROM (SELECT to_jsonb(s), public.settings_note(changed, s)
            FROM (VALUES (changed)) one(key) LEFT JOIN public.platform_settings s USING (key)) stands(after, note)
   WHERE p.xid = pg_current_xact_id_if_assigned() AND p.began_at = transaction_timestamp() AND p.key = changed
$$;

CREATE OR REPLACE FUNCTION public.settings_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
  again boolean;
BEGIN
  IF OLD *= NEW THEN
    RETURN NULL;
  END IF;
  IF OLD.key <> NEW.key THEN
    INSERT INTO public.settings_pending AS p (key, before, note) VALUES (OLD.key, to_jsonb(OLD), public.settings_note(OLD.key, NULL))
    ON CONFLICT (xid, began_at, key) DO UPDATE SET again = true RETURNING p.again INTO again;
    IF again THEN
      PERFORM public.settings_changed_again(OLD.key, to_jsonb(OLD), NULL);
    END IF;
    INSERT INTO public.settings_pending AS p (key, after, note) VALUES (NEW.key, to_jsonb(NEW), public.settings_note(NEW.key, NEW))
    ON CONFLICT (xid, began_at, key) DO UPDATE SET again = true RETURNING p.again INTO again;
    IF again THEN
      PERFORM public.settings_changed_again(NEW.key, NULL, to_jsonb(NEW));
    END IF;
    RETURN NULL;
  END IF;
  IF (OLD.value_bool IS NULL, OLD.value_int IS NULL, OLD.value_float IS NULL, OLD.value_text IS NULL, OLD.value_time IS NULL, OLD.value_json IS NULL)
     <> (NEW.value_bool IS NULL, NEW.value_int IS NULL, NEW.value_float IS NULL, NEW.value_text IS NULL, NEW.value_time IS NULL, NEW.value_json IS NULL)
     AND TG_OP = 'UPDATE' THEN
    RAISE EXCEPTION 'setting "%" is of kind % and violates "platform_settings_kind_never_changes"', NEW.key, public.settings_kind(OLD)
      USING ERRCODE = 'check_violation', CONSTRAINT = 'platform_settings_kind_never_changes',
            SCHEMA = 'public', TABLE = 'platform_settings',
            HINT = format('Set value_%s, or delete the setting and create it anew.', public.settings_kind(OLD));
  END IF;
  INSERT INTO public.settings_pending AS p (key, before, after, note)
  VALUES (coalesce(NEW.key, OLD.key), to_jsonb(OLD), to_jsonb(NEW), public.settings_note(OLD.key, NEW))
  ON CONFLICT (xid, began_at, key) DO UPDATE SET again = true RETURNING p.again INTO again;
  IF again THEN
    PERFORM public.settings_changed_again(coalesce(NEW.key, OLD.key), to_jsonb(OLD), to_jsonb(NEW));
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.settings_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
BEGIN
  PERFORM FROM public.settings_head FOR UPDATE;
  INSERT INTO public.settings_pending (key, before, note)
  SELECT s.key, to_jsonb(s), public.settings_note(s.key, NULL) FROM public.platform_settings s
  ON CONFLICT (xid, began_at, key) DO UPDATE SET after = NULL, note = excluded.note, again = true;
  RETURN NULL;
END $$;

-- Runs inside COMMIT, once for each key; the first one that has changed numbers the
-- transaction and takes all of them along.
-- lock_timeout is the function's own, since statement_timeout does not cover
-- commit-time triggers. enable_seqscan is off since settings_pending is small to
-- the planner, but what was deleted stays until autovacuum comes.
--
-- A notification carries the changed rows, so that a pod needs no query. Its
-- limit is 8000 bytes, and one over it would roll the writer back: then it
-- carries the revision alone, and pods read the table.
CREATE OR REPLACE FUNCTION public.settings_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET lock_timeout = '5s' SET timezone = 'UTC' AS $$
DECLARE
  stamped  bigint;
  announce text;
  numbered timestamptz;
  message  text;
  changed  boolean;
BEGIN
  UPDATE public.settings_head SET revision = revision + 1, xid = NEW.xid
   WHERE only_row AND xid IS DISTINCT FROM NEW.xid AND pg_trigger_depth() = 1
     AND EXISTS (SELECT FROM public.settings_pending p
                  WHERE p.xid = NEW.xid AND p.began_at = NEW.began_at AND p.key = NEW.key
                    AND (p.again IS NULL OR p.before::text IS DISTINCT FROM p.after::text))
  RETURNING revision, channel, clock_timestamp() INTO stamped, announce, numbered;
  IF stamped IS NULL THEN
    -- Nearly always an earlier run has taken this key along.
    IF pg_trigger_depth() > 1 THEN
      -- SET CONSTRAINTS ALL IMMEDIATE would number the commit, and lock the head,
      -- long before COMMIT: back in line.
      SET CONSTRAINTS public.settings_commit DEFERRED;
      WITH again AS (
        DELETE FROM public.settings_pending p WHERE p.xid = NEW.xid AND p.began_at = NEW.began_at AND p.key = NEW.key
        RETURNING p.*)
      INSERT INTO public.settings_pending SELECT a.* FROM again a;
      RETURN NULL;
    END IF;
    DELETE FROM public.settings_pending p WHERE p.xid = NEW.xid AND p.began_at = NEW.began_at AND p.key = NEW.key
    RETURNING p.again IS NULL OR p.before::text IS DISTINCT FROM p.after::text INTO changed;
    IF changed THEN -- else there and back, which is no change
      -- Its notification is queued; a second one would show every pod a state
      -- between the two that nobody committed.
      RAISE EXCEPTION 'settings were changed after SET CONSTRAINTS … IMMEDIATE had numbered this transaction''s changes'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Commit first, or leave the constraint settings_commit deferred.';
    END IF;
    RETURN NULL;
  END IF;

  WITH pending AS (
    DELETE FROM public.settings_pending p WHERE p.xid = NEW.xid AND p.began_at = NEW.began_at
    RETURNING p.key, p.before, p.after, p.note, p.again IS NULL OR p.before::text IS DISTINCT FROM p.after::text AS changed),
  changes AS (
    INSERT INTO public.settings_changes (revision, key, before, after)
    SELECT stamped, p.key, p.before, p.after FROM pending p WHERE p.changed),
  commit AS (
    INSERT INTO public.settings_commits (revision, at, actor, role, reason)
    VALUES (stamped, numbered,
            coalesce(nullif(left(current_setting('settings.actor', true), 200), ''), session_user), session_user,
            nullif(left(current_setting('settings.reason', true), 4000), '')))
  SELECT format('{"revision" : %s, "at" : %s%s%s}', stamped, to_json(numbered),
           CASE WHEN count(*) <= 100 AND octet_length(string_agg(p.note, ', ')) <= 7800 THEN format(', "changes" : [%s]', string_agg(p.note, ', ')) END,
           CASE WHEN current_setting('settings.wait', true) IN ('on', 'true', 'yes', '1') THEN ', "wait" : true' END) -- pods acknowledge at once
    INTO message
    FROM (SELECT p.note FROM pending p WHERE p.changed LIMIT 101) p; -- megabytes are not to be joined in vain
  PERFORM pg_notify(announce, message);
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER settings_commit AFTER INSERT ON public.settings_pending
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.settings_commit();
ALTER TABLE public.settings_pending ENABLE ALWAYS TRIGGER settings_commit;

REVOKE ALL ON FUNCTION public.settings_stamped(public.platform_settings, public.platform_settings),
  public.settings_changed_again(text, jsonb, jsonb) FROM PUBLIC;
DROP FUNCTION IF EXISTS public.settings_touch(text, jsonb, jsonb), public.settings_same(jsonb, jsonb);
