-- Which pods have which revision in force. Each pod says so itself, after the
-- fact: in force means that requests read it. None of this notifies, and nothing
-- waits for it but who asks.
--
--   settings_members   who is in the fleet. Logged: after a crash or a failover
--                      the new server still knows whom to ask after.
--   settings_pods      what each has in force. Unlogged: it is written after
--                      every commit by every pod, and worth nothing after a crash.

CREATE TABLE IF NOT EXISTS public.settings_members (
  instance      uuid        NOT NULL,
  pod           text        NOT NULL,
  build         text        NOT NULL,
  started_at    timestamptz NOT NULL,
  ttl           interval    NOT NULL CONSTRAINT settings_members_ttl CHECK (ttl > '0'),
  max_staleness interval             CONSTRAINT settings_members_max_staleness CHECK (max_staleness > '0'),
  CONSTRAINT settings_members_pkey PRIMARY KEY (instance)
);
COMMENT ON TABLE  public.settings_members IS 'One row a running pod: written when it connects, deleted when it stops.';
COMMENT ON COLUMN public.settings_members.instance      IS 'The process. Two that were given the same name are two rows.';
COMMENT ON COLUMN public.settings_members.ttl           IS 'How often it checks in. Silent for three of these, it is lost; for 360, it is dropped.';
COMMENT ON COLUMN public.settings_members.max_staleness IS 'After so long without the database it closes its own gate; null: never.';

CREATE UNLOGGED TABLE IF NOT EXISTS public.settings_pods (
  instance   uuid        NOT NULL,
  pod        text        NOT NULL,
  revision   bigint,
  applied_at timestamptz,
  source     text,
  listener   text,
  last_seen  timestamptz NOT NULL,
  CONSTRAINT settings_pods_pkey PRIMARY KEY (instance)
) WITH (fillfactor = 50); -- updated all the time: room within the page
COMMENT ON TABLE  public.settings_pods IS 'What each pod has in force, as it says itself. See settings_fleet.';
COMMENT ON COLUMN public.settings_pods.revision   IS 'What requests on it read; null until it has compared itself with this server.';
COMMENT ON COLUMN public.settings_pods.applied_at IS 'When it said so first, by this server''s clock.';

-- state is as of the head; lost comes before the others. Who has no row after a
-- crash of the server is behind: it is about to come back, or to be lost. A pod that reports more
-- than the head has it from a server that is no longer the one.
CREATE OR REPLACE VIEW public.settings_fleet AS
SELECT f.pod, f.revision, f.head - coalesce(f.revision, 0) AS lag, f.applied_at, f.last_seen,
       CASE WHEN f.silent > greatest(3 * f.ttl, interval '1 second') THEN 'lost'
            WHEN f.revision = f.head THEN 'current'
            ELSE 'behind' END AS state,
       f.source, f.listener, f.build, f.started_at,
       -- It was last confirmed no later than it was last seen and one look more.
       CASE WHEN f.silent > f.max_staleness + f.ttl + interval '5 seconds'
            THEN f.last_seen + f.max_staleness + f.ttl + interval '5 seconds' END AS closed_at,
       (SELECT clock_timestamp() - c.at FROM public.settings_commits c WHERE c.revision = f.revision + 1) AS behind_for,
       f.instance
  FROM (SELECT m.instance, m.pod, m.build, m.started_at, m.ttl, m.max_staleness, h.revision AS head,
               CASE WHEN p.revision <= h.revision THEN p.revision END AS revision,
               p.applied_at, p.source, p.listener, p.last_seen, clock_timestamp() - p.last_seen AS silent
          FROM public.settings_members m
          LEFT JOIN public.settings_pods p ON p.instance = m.instance
         CROSS JOIN (SELECT revision FROM public.settings_head LIMIT 1) h) f; -- LIMIT: the planner else guesses hundreds, and JIT-compiles
COMMENT ON VIEW public.settings_fleet IS 'One row a pod: what it has in force, how far that is behind, and when it was last heard of.';
COMMENT ON COLUMN public.settings_fleet.state      IS 'current, behind, or lost: silent for three of its TTLs, and it may still be serving.';
COMMENT ON COLUMN public.settings_fleet.closed_at  IS 'Since when, at the latest, a silent pod has closed its own gate; null: it has not, or has no MAX_STALENESS.';
COMMENT ON COLUMN public.settings_fleet.behind_for IS 'The age of the first commit that it lacks.';

-- A pod calls it on each new connection, before it reads: whoever commits later
-- will find it in the fleet. Its revision is unknown until it has compared itself
-- with this server, which may be another than before.
CREATE OR REPLACE FUNCTION public.settings_join(
  instance uuid, pod text, build text, started_at timestamptz, ttl interval, max_staleness interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO public.settings_members (instance, pod, build, started_at, ttl, max_staleness)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (instance) DO NOTHING;
  INSERT INTO public.settings_pods (instance, pod, last_seen)
  VALUES ($1, $2, clock_timestamp())
  ON CONFLICT (instance) DO UPDATE SET revision = NULL, last_seen = excluded.last_seen;
END $$;

-- A pod calls it when it has another revision in force. False: join first.
CREATE OR REPLACE FUNCTION public.settings_acknowledge(
  instance uuid, revision bigint, source text, listener text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
#variable_conflict use_column
BEGIN
  UPDATE public.settings_pods p
     SET revision = $2, source = $3, listener = $4, last_seen = clock_timestamp(),
         applied_at = CASE WHEN p.revision = $2 THEN p.applied_at ELSE clock_timestamp() END
   WHERE p.instance = $1;
  RETURN FOUND;
END $$;

-- A pod calls it with each poll: it acknowledges, keeps the register, and counts.
-- What a crash has emptied is counted as silent from now on. forgotten are the
-- pods that were lost for so long that they are dropped, now.
CREATE OR REPLACE FUNCTION public.settings_check_in(
  instance uuid, revision bigint, source text, listener text,
  OUT joined boolean, OUT "current" bigint, OUT behind bigint, OUT lost bigint, OUT behind_for interval, OUT forgotten text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
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
END $$;

-- A pod calls it when it stops.
CREATE OR REPLACE FUNCTION public.settings_leave(instance uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
  DELETE FROM public.settings_members m WHERE m.instance = $1;
  DELETE FROM public.settings_pods p WHERE p.instance = $1;
$$;

REVOKE ALL ON FUNCTION
  public.settings_join(uuid, text, text, timestamptz, interval, interval),
  public.settings_acknowledge(uuid, bigint, text, text),
  public.settings_check_in(uuid, bigint, text, text),
  public.settings_leave(uuid) FROM PUBLIC;

-- For DBAs: flip, COMMIT, then SELECT * FROM settings_await().
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
REVOKE ALL ON FUNCTION public.settings_await(bigint, interval) FROM PUBLIC;
COMMENT ON FUNCTION public.settings_await(bigint, interval) IS
  'Waits until every pod has the revision in force (the last one, if null), or until the time is over; then a row for each pod: has it or not.';
