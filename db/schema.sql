-- The whole schema, dumped from a migrated database by make schema. Do not edit.
--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';
SET check_function_bodies = false;
SET client_min_messages = warning;

--
-- Name: settings_channel; Type: DOMAIN; Schema: public; Owner: -
--

CREATE DOMAIN public.settings_channel AS text
	CONSTRAINT settings_head_channel_format CHECK ((VALUE ~ '^[a-z][a-z0-9_]{15,62}$'::text));

--
-- Name: settings_description; Type: DOMAIN; Schema: public; Owner: -
--

CREATE DOMAIN public.settings_description AS text
	CONSTRAINT platform_settings_description_at_most_4_kib CHECK ((octet_length(VALUE) <= 4096));

--
-- Name: settings_float; Type: DOMAIN; Schema: public; Owner: -
--

CREATE DOMAIN public.settings_float AS double precision
	CONSTRAINT platform_settings_float_is_finite CHECK ((VALUE <> ALL (ARRAY['NaN'::double precision, 'Infinity'::double precision, '-Infinity'::double precision])));

--
-- Name: settings_json; Type: DOMAIN; Schema: public; Owner: -
--

CREATE DOMAIN public.settings_json AS jsonb
	CONSTRAINT platform_settings_json_at_most_100_levels CHECK ((NOT jsonb_path_exists(VALUE, 'strict $.**{100 to last}'::jsonpath)))
	CONSTRAINT platform_settings_json_at_most_64_kib CHECK ((octet_length((VALUE)::text) <= 65536));

--
-- Name: settings_key; Type: DOMAIN; Schema: public; Owner: -
--

CREATE DOMAIN public.settings_key AS text COLLATE pg_catalog."C"
	CONSTRAINT platform_settings_key_format CHECK ((VALUE ~ '^[a-z][a-z0-9_.]{0,126}$'::text));

--
-- Name: settings_text; Type: DOMAIN; Schema: public; Owner: -
--

CREATE DOMAIN public.settings_text AS text
	CONSTRAINT platform_settings_text_at_most_64_kib CHECK ((octet_length(VALUE) <= 65536));

--
-- Name: settings_time; Type: DOMAIN; Schema: public; Owner: -
--

CREATE DOMAIN public.settings_time AS timestamp with time zone
	CONSTRAINT platform_settings_time_has_four_digit_year CHECK (((VALUE > '0001-01-01 00:00:00+00'::timestamp with time zone) AND (VALUE < '10000-01-01 00:00:00+00'::timestamp with time zone)));

--
-- Name: maintenance_off(text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.maintenance_off(reason text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM key FROM public.platform_settings WHERE key LIKE 'maintenance\_%' ORDER BY key FOR UPDATE;
  IF reason IS NOT NULL THEN
    PERFORM set_config('settings.reason', reason, true);
  END IF;
  DELETE FROM public.platform_settings
   WHERE key IN ('maintenance_ends_at', 'maintenance_message', 'maintenance_read_only',
                 'maintenance_starts_at');
  INSERT INTO public.platform_settings (key, value_bool) VALUES ('maintenance_mode', false)
  ON CONFLICT (key) DO UPDATE SET value_bool = excluded.value_bool;
  RETURN 'maintenance is off, for the whole fleet, once this transaction commits';
END $$;

--
-- Name: FUNCTION maintenance_off(reason text); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.maintenance_off(reason text) IS 'Turns the switch off and clears the window, the message and read_only: nothing stale waits for the next time.';

--
-- Name: maintenance_on(text, boolean, text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.maintenance_on(message text DEFAULT NULL::text, read_only boolean DEFAULT false, reason text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM key FROM public.platform_settings WHERE key LIKE 'maintenance\_%' ORDER BY key FOR UPDATE;
  IF reason IS NOT NULL THEN
    PERFORM set_config('settings.reason', reason, true);
  END IF;
  DELETE FROM public.platform_settings
   WHERE key = 'maintenance_message' AND message IS NULL
      OR key = 'maintenance_read_only' AND NOT read_only;
  IF message IS NOT NULL THEN
    INSERT INTO public.platform_settings (key, value_text) VALUES ('maintenance_message', message)
    ON CONFLICT (key) DO UPDATE SET value_text = excluded.value_text;
  END IF;
  INSERT INTO public.platform_settings (key, value_bool) VALUES ('maintenance_mode', true)
  ON CONFLICT (key) DO UPDATE SET value_bool = excluded.value_bool;
  IF read_only THEN
    INSERT INTO public.platform_settings (key, value_bool) VALUES ('maintenance_read_only', true)
    ON CONFLICT (key) DO UPDATE SET value_bool = excluded.value_bool;
  END IF;
  RETURN 'maintenance is on, for the whole fleet, once this transaction commits';
END $$;

--
-- Name: FUNCTION maintenance_on(message text, read_only boolean, reason text); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.maintenance_on(message text, read_only boolean, reason text) IS 'Turns the switch on. A message or read_only that is left out is cleared; the window stays.';

--
-- Name: settings_acknowledge(uuid, bigint, text, text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_acknowledge(instance uuid, revision bigint, source text, listener text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '50ms'
    AS $_$
#variable_conflict use_column
BEGIN
  UPDATE public.settings_pods p
     SET revision = $2, source = $3, listener = $4, last_seen = clock_timestamp(),
         applied_at = CASE WHEN p.revision = $2 THEN p.applied_at ELSE clock_timestamp() END
   WHERE p.instance = $1;
  RETURN FOUND;
END $_$;

--
-- Name: settings_await(bigint, interval); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_await(revision bigint DEFAULT NULL::bigint, timeout interval DEFAULT '00:00:10'::interval) RETURNS TABLE(pod text, has boolean, state text, at_revision bigint, last_seen timestamp with time zone, closed_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '1s'
    AS $_$
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
END $_$;

--
-- Name: FUNCTION settings_await(revision bigint, timeout interval); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.settings_await(revision bigint, timeout interval) IS 'Waits until every pod has the revision in force (the last one, if null), or until the time is over; then a row for each pod: has it or not.';

--
-- Name: settings_changed_again(text, jsonb, jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_changed_again(changed text, was jsonb, became jsonb) RETURNS void
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    AS $$
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

--
-- Name: settings_check_in(uuid, bigint, text, text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_check_in(instance uuid, revision bigint, source text, listener text, OUT joined boolean, OUT current bigint, OUT behind bigint, OUT lost bigint, OUT behind_for interval, OUT forgotten text[]) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '50ms'
    AS $_$
#variable_conflict use_column
BEGIN
  joined := public.settings_acknowledge($1, $2, $3, $4);
  INSERT INTO public.settings_pods (instance, pod, last_seen)
  SELECT m.instance, m.pod, clock_timestamp() FROM public.settings_members m
   WHERE NOT EXISTS (SELECT FROM public.settings_pods p WHERE p.instance = m.instance)
  ON CONFLICT (instance) DO NOTHING;
  WITH expired AS (
    DELETE FROM public.settings_members
     WHERE instance IN (
       SELECT m.instance FROM public.settings_members m JOIN public.settings_pods p ON p.instance = m.instance
        WHERE p.last_seen < clock_timestamp() - greatest(360 * m.ttl, interval '1 minute')
          FOR UPDATE OF m SKIP LOCKED)
    RETURNING instance, pod),
  gone AS (DELETE FROM public.settings_pods WHERE instance IN (SELECT instance FROM expired))
  SELECT array_agg(pod ORDER BY pod) INTO forgotten FROM expired;
  SELECT count(*) FILTER (WHERE f.state = 'current'), count(*) FILTER (WHERE f.state = 'behind'),
         count(*) FILTER (WHERE f.state = 'lost'), max(f.behind_for) FILTER (WHERE f.state <> 'lost')
    INTO "current", behind, lost, behind_for
    FROM public.settings_fleet f;
END $_$;

--
-- Name: settings_commit(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_commit() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET lock_timeout TO '5s'
    SET "TimeZone" TO 'UTC'
    AS $$
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

--
-- Name: settings_history_prune(interval); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_history_prune(older_than interval) RETURNS bigint
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

--
-- Name: FUNCTION settings_history_prune(older_than interval); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.settings_history_prune(older_than interval) IS 'Deletes commits older than that, but for the latest of each key; answers how many.';

--
-- Name: settings_join(uuid, text, text, timestamp with time zone, interval, interval); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_join(instance uuid, pod text, build text, started_at timestamp with time zone, ttl interval, max_staleness interval) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '50ms'
    AS $_$
#variable_conflict use_column
BEGIN
  INSERT INTO public.settings_members (instance, pod, build, started_at, ttl, max_staleness)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (instance) DO NOTHING;
  INSERT INTO public.settings_pods (instance, pod, last_seen)
  VALUES ($1, $2, clock_timestamp())
  ON CONFLICT (instance) DO UPDATE SET revision = NULL, last_seen = excluded.last_seen;
END $_$;

--
-- Name: settings_valid(text, boolean, bigint, double precision, text, timestamp with time zone, jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_valid(key text, value_bool boolean, value_int bigint, value_float double precision, value_text text, value_time timestamp with time zone, value_json jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    AS $$
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

--
-- Name: platform_settings; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.platform_settings (
    key public.settings_key NOT NULL,
    value_bool boolean,
    value_int bigint,
    value_float public.settings_float,
    value_text public.settings_text,
    value_time public.settings_time,
    value_json public.settings_json,
    description public.settings_description DEFAULT ''::text NOT NULL,
    public boolean DEFAULT false NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_by text DEFAULT SESSION_USER NOT NULL,
    CONSTRAINT platform_settings_exactly_one_value CHECK (public.settings_valid((key)::text, value_bool, value_int, (value_float)::double precision, (value_text)::text, (value_time)::timestamp with time zone, (value_json)::jsonb))
);

--
-- Name: TABLE platform_settings; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.platform_settings IS 'One row a setting. Change it with plain SQL; every pod has it in force milliseconds after COMMIT.';

--
-- Name: COLUMN platform_settings.key; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.key IS 'Lower case, starts with a letter, then letters, digits, _ and . (127 characters at most).';

--
-- Name: COLUMN platform_settings.value_bool; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.value_bool IS 'Exactly one value_ column is set; which one is the kind, and it never changes.';

--
-- Name: COLUMN platform_settings.value_int; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.value_int IS 'Kind int: 64 bits, signed.';

--
-- Name: COLUMN platform_settings.value_float; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.value_float IS 'Kind float: 64 bits, finite.';

--
-- Name: COLUMN platform_settings.value_text; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.value_text IS 'Kind text: 64 KiB at most, in bytes.';

--
-- Name: COLUMN platform_settings.value_time; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.value_time IS 'Kind time: an instant, in microseconds.';

--
-- Name: COLUMN platform_settings.value_json; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.value_json IS 'Kind json: 64 KiB at most as text, 100 levels deep; JSON null is a value.';

--
-- Name: COLUMN platform_settings.description; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.description IS 'For people; 4 KiB at most.';

--
-- Name: COLUMN platform_settings.public; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.public IS 'Readable over HTTP without a token.';

--
-- Name: COLUMN platform_settings.updated_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.updated_at IS 'Start of the transaction that last changed the row. Set by a trigger.';

--
-- Name: COLUMN platform_settings.updated_by; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.platform_settings.updated_by IS 'Who did that: settings.actor, else the session user. Set by a trigger.';

--
-- Name: settings_kind(public.platform_settings); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_kind(s public.platform_settings) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
  SELECT CASE
    WHEN s.value_bool  IS NOT NULL THEN 'bool'
    WHEN s.value_int   IS NOT NULL THEN 'int'
    WHEN s.value_float IS NOT NULL THEN 'float'
    WHEN s.value_text  IS NOT NULL THEN 'text'
    WHEN s.value_time  IS NOT NULL THEN 'time'
    WHEN s.value_json  IS NOT NULL THEN 'json'
  END
$$;

--
-- Name: FUNCTION settings_kind(s public.platform_settings); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.settings_kind(s public.platform_settings) IS 'The kind of a setting: SELECT settings_kind(s) FROM platform_settings s.';

--
-- Name: settings_leave(uuid); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_leave(instance uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '50ms'
    AS $_$
  DELETE FROM public.settings_members m WHERE m.instance = $1;
  DELETE FROM public.settings_pods p WHERE p.instance = $1;
$_$;

--
-- Name: settings_note(text, public.platform_settings); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_note(key text, s public.platform_settings) RETURNS text
    LANGUAGE sql STABLE
    AS $$
  SELECT CASE WHEN s.key IS NULL THEN format('{"key" : "%s", "deleted" : true}', key)
    ELSE format('{"key" : "%s", "kind" : "%s", "value" : %s, "description" : %s, "public" : %s, "updated_at" : %s, "updated_by" : %s, "digest" : %s}',
      s.key, public.settings_kind(s),
      coalesce(to_json(s.value_bool), to_json(s.value_int), to_json(s.value_float), to_json(s.value_text), to_json(s.value_time), s.value_json::json),
      to_json(s.description), to_json(s.public), to_json(s.updated_at), to_json(s.updated_by), hash_record_extended(s, 0))
  END
$$;

--
-- Name: settings_row(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_row() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET extra_float_digits TO '1'
    AS $$
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

--
-- Name: settings_stamp(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_stamp() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

--
-- Name: settings_stamped(public.platform_settings, public.platform_settings); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_stamped(old_row public.platform_settings, new_row public.platform_settings) RETURNS public.platform_settings
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET "TimeZone" TO 'UTC'
    SET extra_float_digits TO '1'
    AS $$
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

--
-- Name: settings_truncate(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.settings_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET extra_float_digits TO '1'
    AS $$
BEGIN
  PERFORM FROM public.settings_head FOR UPDATE;
  INSERT INTO public.settings_pending (key, before, note)
  SELECT s.key, to_jsonb(s), public.settings_note(s.key, NULL) FROM public.platform_settings s
  ON CONFLICT (xid, began_at, key) DO UPDATE SET after = NULL, note = excluded.note, again = true;
  RETURN NULL;
END $$;

--
-- Name: settings_changes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.settings_changes (
    commit_id bigint,
    key text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    before jsonb,
    after jsonb
);

--
-- Name: TABLE settings_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.settings_changes IS 'History: one row a key and commit.';

--
-- Name: COLUMN settings_changes.before; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_changes.before IS 'The row before the transaction; null if there was none.';

--
-- Name: COLUMN settings_changes.after; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_changes.after IS 'The row after the transaction; null if it was deleted.';

--
-- Name: settings_commits; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.settings_commits (
    id bigint,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    began_at timestamp with time zone DEFAULT transaction_timestamp() NOT NULL,
    revision bigint NOT NULL,
    at timestamp with time zone,
    actor text,
    role text,
    reason text
);

--
-- Name: TABLE settings_commits; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.settings_commits IS 'History: one row a transaction that changed settings.';

--
-- Name: COLUMN settings_commits.at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_commits.at IS 'When it was numbered, inside COMMIT.';

--
-- Name: COLUMN settings_commits.actor; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_commits.actor IS 'settings.actor, else the session user: who says they did it.';

--
-- Name: COLUMN settings_commits.role; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_commits.role IS 'The session user: who the database knows did it.';

--
-- Name: COLUMN settings_commits.reason; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_commits.reason IS 'settings.reason: why. The first 4000 characters.';

--
-- Name: settings_head; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.settings_head (
    only_row boolean DEFAULT true NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    channel public.settings_channel DEFAULT ('platform_settings_'::text || replace((gen_random_uuid())::text, '-'::text, ''::text)) NOT NULL,
    xid xid8,
    CONSTRAINT settings_head_only_row CHECK (only_row)
)
WITH (fillfactor='10');

--
-- Name: TABLE settings_head; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.settings_head IS 'One row: the last revision, and the channel that commits are announced on.';

--
-- Name: COLUMN settings_head.revision; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_head.revision IS 'The last commit''s number; commits are numbered 1, 2, 3 … in commit order.';

--
-- Name: COLUMN settings_head.channel; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_head.channel IS 'Whoever knows it can overhear and forge. Change it to rotate: pods follow within one TTL.';

--
-- Name: COLUMN settings_head.xid; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_head.xid IS 'The transaction of the last commit.';

--
-- Name: settings_members; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.settings_members (
    instance uuid NOT NULL,
    pod text NOT NULL,
    build text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ttl interval NOT NULL,
    max_staleness interval,
    CONSTRAINT settings_members_max_staleness CHECK ((max_staleness > '00:00:00'::interval)),
    CONSTRAINT settings_members_ttl CHECK ((ttl > '00:00:00'::interval))
);

--
-- Name: TABLE settings_members; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.settings_members IS 'One row a running pod: written when it connects, deleted when it stops.';

--
-- Name: COLUMN settings_members.instance; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_members.instance IS 'The process. Two that were given the same name are two rows.';

--
-- Name: COLUMN settings_members.ttl; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_members.ttl IS 'How often it checks in. Silent for three of these, it is lost; for 360, it is dropped.';

--
-- Name: COLUMN settings_members.max_staleness; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_members.max_staleness IS 'After so long without the database it closes its own gate; null: never.';

--
-- Name: settings_pods; Type: TABLE; Schema: public; Owner: -
--

CREATE UNLOGGED TABLE public.settings_pods (
    instance uuid NOT NULL,
    pod text NOT NULL,
    revision bigint,
    applied_at timestamp with time zone,
    source text,
    listener text,
    last_seen timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

--
-- Name: TABLE settings_pods; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.settings_pods IS 'What each pod has in force, as it says itself. See settings_fleet.';

--
-- Name: COLUMN settings_pods.revision; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_pods.revision IS 'What requests on it read; null until it has compared itself with this server.';

--
-- Name: COLUMN settings_pods.applied_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_pods.applied_at IS 'When it said so first, by this server''s clock.';

--
-- Name: settings_fleet; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.settings_fleet AS
 SELECT f.pod,
    f.revision,
    (f.head - COALESCE(f.revision, (0)::bigint)) AS lag,
    f.applied_at,
    f.last_seen,
        CASE
            WHEN (f.silent > GREATEST(((3)::double precision * f.ttl), '00:00:01'::interval)) THEN 'lost'::text
            WHEN (f.revision = f.head) THEN 'current'::text
            ELSE 'behind'::text
        END AS state,
    f.source,
    f.listener,
    f.build,
    f.started_at,
        CASE
            WHEN (f.silent > ((f.max_staleness + f.ttl) + '00:00:05'::interval)) THEN (((f.last_seen + f.max_staleness) + f.ttl) + '00:00:05'::interval)
            ELSE NULL::timestamp with time zone
        END AS closed_at,
    ( SELECT (clock_timestamp() - c.at)
           FROM public.settings_commits c
          WHERE (c.revision = (f.revision + 1))) AS behind_for,
    f.instance
   FROM ( SELECT m.instance,
            m.pod,
            m.build,
            m.started_at,
            m.ttl,
            m.max_staleness,
            h.revision AS head,
                CASE
                    WHEN (p.revision <= h.revision) THEN p.revision
                    ELSE NULL::bigint
                END AS revision,
            p.applied_at,
            p.source,
            p.listener,
            p.last_seen,
            (clock_timestamp() - p.last_seen) AS silent
           FROM ((public.settings_members m
             LEFT JOIN public.settings_pods p ON ((p.instance = m.instance)))
             CROSS JOIN ( SELECT settings_head.revision
                   FROM public.settings_head
                 LIMIT 1) h)) f;

--
-- Name: VIEW settings_fleet; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON VIEW public.settings_fleet IS 'One row a pod: what it has in force, how far that is behind, and when it was last heard of.';

--
-- Name: COLUMN settings_fleet.state; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_fleet.state IS 'current, behind, or lost: silent for three of its TTLs, and it may still be serving.';

--
-- Name: COLUMN settings_fleet.closed_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_fleet.closed_at IS 'Since when, at the latest, a silent pod has closed its own gate; null: it has not, or has no MAX_STALENESS.';

--
-- Name: COLUMN settings_fleet.behind_for; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_fleet.behind_for IS 'The age of the first commit that it lacks.';

--
-- Name: settings_history; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.settings_history AS
 SELECT c.revision,
    c.at,
    c.actor,
    c.role,
    c.reason,
    ch.key,
    ch.before,
    ch.after
   FROM (public.settings_commits c
     JOIN public.settings_changes ch ON ((ch.revision = c.revision)));

--
-- Name: VIEW settings_history; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON VIEW public.settings_history IS 'One row a key and commit: who changed what, when and why.';

--
-- Name: settings_pending; Type: TABLE; Schema: public; Owner: -
--

CREATE UNLOGGED TABLE public.settings_pending (
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    began_at timestamp with time zone DEFAULT transaction_timestamp() NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    before jsonb,
    after jsonb,
    opens boolean,
    note text,
    again boolean
)
WITH (vacuum_truncate=off);

--
-- Name: TABLE settings_pending; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.settings_pending IS 'What transactions have changed that are still under way; COMMIT moves it to the history.';

--
-- Name: COLUMN settings_pending.opens; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_pending.opens IS 'Written no more.';

--
-- Name: COLUMN settings_pending.note; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_pending.note IS 'What the notification is to say of the key.';

--
-- Name: COLUMN settings_pending.again; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.settings_pending.again IS 'True: the key was changed twice or more, and may be as it was before.';

--
-- Name: platform_settings platform_settings_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.platform_settings
    ADD CONSTRAINT platform_settings_pkey PRIMARY KEY (key);

--
-- Name: settings_changes settings_changes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.settings_changes
    ADD CONSTRAINT settings_changes_pkey PRIMARY KEY (revision, key);

--
-- Name: settings_commits settings_commits_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.settings_commits
    ADD CONSTRAINT settings_commits_pkey PRIMARY KEY (revision);

--
-- Name: settings_head settings_head_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.settings_head
    ADD CONSTRAINT settings_head_pkey PRIMARY KEY (only_row);

--
-- Name: settings_members settings_members_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.settings_members
    ADD CONSTRAINT settings_members_pkey PRIMARY KEY (instance);

--
-- Name: settings_pending settings_pending_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.settings_pending
    ADD CONSTRAINT settings_pending_pkey PRIMARY KEY (xid, began_at, key);

--
-- Name: settings_pods settings_pods_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.settings_pods
    ADD CONSTRAINT settings_pods_pkey PRIMARY KEY (instance);

--
-- Name: settings_changes_latest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX settings_changes_latest ON public.settings_changes USING btree (key, revision DESC);

--
-- Name: settings_commits settings_commit; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER settings_commit AFTER INSERT ON public.settings_commits DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (false) EXECUTE FUNCTION public.settings_commit();

ALTER TABLE public.settings_commits ENABLE ALWAYS TRIGGER settings_commit;

--
-- Name: settings_pending settings_commit; Type: TRIGGER; Schema: public; Owner: -
--

CREATE CONSTRAINT TRIGGER settings_commit AFTER INSERT ON public.settings_pending DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.settings_commit();

ALTER TABLE public.settings_pending ENABLE ALWAYS TRIGGER settings_commit;

--
-- Name: platform_settings settings_row; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER settings_row AFTER INSERT OR DELETE OR UPDATE ON public.platform_settings FOR EACH ROW EXECUTE FUNCTION public.settings_row();

ALTER TABLE public.platform_settings ENABLE ALWAYS TRIGGER settings_row;

--
-- Name: platform_settings settings_stamp; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER settings_stamp BEFORE INSERT OR UPDATE ON public.platform_settings FOR EACH ROW EXECUTE FUNCTION public.settings_stamp();

ALTER TABLE public.platform_settings ENABLE ALWAYS TRIGGER settings_stamp;

--
-- Name: platform_settings settings_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER settings_truncate BEFORE TRUNCATE ON public.platform_settings FOR EACH STATEMENT EXECUTE FUNCTION public.settings_truncate();

ALTER TABLE public.platform_settings ENABLE ALWAYS TRIGGER settings_truncate;

--
-- Name: FUNCTION settings_acknowledge(instance uuid, revision bigint, source text, listener text); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_acknowledge(instance uuid, revision bigint, source text, listener text) FROM PUBLIC;

--
-- Name: FUNCTION settings_await(revision bigint, timeout interval); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_await(revision bigint, timeout interval) FROM PUBLIC;

--
-- Name: FUNCTION settings_changed_again(changed text, was jsonb, became jsonb); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_changed_again(changed text, was jsonb, became jsonb) FROM PUBLIC;

--
-- Name: FUNCTION settings_check_in(instance uuid, revision bigint, source text, listener text, OUT joined boolean, OUT current bigint, OUT behind bigint, OUT lost bigint, OUT behind_for interval, OUT forgotten text[]); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_check_in(instance uuid, revision bigint, source text, listener text, OUT joined boolean, OUT current bigint, OUT behind bigint, OUT lost bigint, OUT behind_for interval, OUT forgotten text[]) FROM PUBLIC;

--
-- Name: FUNCTION settings_commit(); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_commit() FROM PUBLIC;

--
-- Name: FUNCTION settings_history_prune(older_than interval); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_history_prune(older_than interval) FROM PUBLIC;

--
-- Name: FUNCTION settings_join(instance uuid, pod text, build text, started_at timestamp with time zone, ttl interval, max_staleness interval); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_join(instance uuid, pod text, build text, started_at timestamp with time zone, ttl interval, max_staleness interval) FROM PUBLIC;

--
-- Name: FUNCTION settings_leave(instance uuid); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_leave(instance uuid) FROM PUBLIC;

--
-- Name: FUNCTION settings_row(); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_row() FROM PUBLIC;

--
-- Name: FUNCTION settings_stamp(); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_stamp() FROM PUBLIC;

--
-- Name: FUNCTION settings_stamped(old_row public.platform_settings, new_row public.platform_settings); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_stamped(old_row public.platform_settings, new_row public.platform_settings) FROM PUBLIC;

--
-- Name: FUNCTION settings_truncate(); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.settings_truncate() FROM PUBLIC;

--
-- PostgreSQL database dump complete
--

