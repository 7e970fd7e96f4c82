-- Locks as on the way up.
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

DROP TABLE IF EXISTS public.settings_pending;
CREATE UNLOGGED TABLE public.settings_pending (
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

CREATE OR REPLACE FUNCTION public.settings_same(a jsonb, b jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
  SELECT (a - 'updated_at' - 'updated_by')::text IS NOT DISTINCT FROM (b - 'updated_at' - 'updated_by')::text
$$;

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

REVOKE ALL ON FUNCTION public.settings_touch(text, jsonb, jsonb) FROM PUBLIC;

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
  PERFORM FROM public.settings_head FOR UPDATE;
  PERFORM public.settings_touch(s.key, to_jsonb(s), NULL) FROM public.platform_settings s;
  RETURN NULL;
END $$;

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

CREATE CONSTRAINT TRIGGER settings_commit AFTER INSERT ON public.settings_pending
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.opens) EXECUTE FUNCTION public.settings_commit();
ALTER TABLE public.settings_pending ENABLE ALWAYS TRIGGER settings_commit;

DROP FUNCTION IF EXISTS public.settings_stamped(public.platform_settings, public.platform_settings),
  public.settings_changed_again(text, jsonb, jsonb), public.settings_note(text, public.platform_settings);

CREATE OR REPLACE FUNCTION public.settings_well_known_kind(
  key text, value_bool boolean, value_int bigint, value_text text, value_time timestamptz) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN CASE key
    WHEN 'maintenance_mode'        THEN value_bool IS NOT NULL
    WHEN 'maintenance_read_only'   THEN value_bool IS NOT NULL
    WHEN 'maintenance_message'     THEN value_text IS NOT NULL
    WHEN 'maintenance_retry_after' THEN value_int IS NOT NULL AND value_int BETWEEN 1 AND 86400
    WHEN 'maintenance_starts_at'   THEN value_time IS NOT NULL
    WHEN 'maintenance_ends_at'     THEN value_time IS NOT NULL
    ELSE true
  END;
END $$;
ALTER TABLE public.platform_settings
  DROP CONSTRAINT IF EXISTS platform_settings_well_known_kind,
  DROP CONSTRAINT IF EXISTS platform_settings_exactly_one_value,
  ADD CONSTRAINT platform_settings_exactly_one_value
    CHECK (num_nonnulls(value_bool, value_int, value_float, value_text, value_time, value_json) = 1),
  ADD CONSTRAINT platform_settings_well_known_kind
    CHECK (public.settings_well_known_kind(key, value_bool, value_int, value_text, value_time));
DROP FUNCTION IF EXISTS public.settings_valid(text, boolean, bigint, double precision, text, timestamptz, jsonb);

DO $$ BEGIN
  IF NOT has_function_privilege('public', 'public.settings_well_known_kind(text, boolean, bigint, text, timestamptz)', 'EXECUTE') THEN
    GRANT EXECUTE ON FUNCTION public.settings_well_known_kind(text, boolean, bigint, text, timestamptz) TO PUBLIC;
  END IF;
END $$;
