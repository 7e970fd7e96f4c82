-- PostgreSQL parses each CHECK of a table anew for each statement that writes to
-- it, and runs it for each row, whatever columns are written: a third of what a
-- commit cost. A domain's rules are parsed once a session, and run where the
-- column is written. The rules and their names stay.

-- Pods ask the tables in one order and writers in another, so whoever held some
-- and waited for others could lock up with either. This waits for the first one
-- only, and gives it back where the rest is not free; and it waits briefly, since
-- everybody else stands in line behind it.
DO $$ BEGIN
  PERFORM set_config('lock_timeout', '100ms', true);
  LOOP
    BEGIN
      LOCK TABLE public.platform_settings;
      LOCK TABLE public.settings_head NOWAIT;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() > transaction_timestamp() + interval '1 minute' THEN
        RAISE;
      END IF;
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
END $$;

DO $$ BEGIN
  CREATE DOMAIN public.settings_key AS text COLLATE "C"
    CONSTRAINT platform_settings_key_format CHECK (VALUE ~ '^[a-z][a-z0-9_.]{0,126}$');
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
  CREATE DOMAIN public.settings_float AS double precision -- JSON has no words for these
    CONSTRAINT platform_settings_float_is_finite CHECK (VALUE NOT IN ('NaN', 'Infinity', '-Infinity'));
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
  CREATE DOMAIN public.settings_text AS text
    CONSTRAINT platform_settings_text_at_most_64_kib CHECK (octet_length(VALUE) <= 65536);
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
  CREATE DOMAIN public.settings_time AS timestamptz -- nor for these
    CONSTRAINT platform_settings_time_has_four_digit_year
      CHECK (VALUE > '0001-01-01 00:00:00+00' AND VALUE < '10000-01-01 00:00:00+00');
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
  CREATE DOMAIN public.settings_json AS jsonb -- readers of JSON have limits of their own
    CONSTRAINT platform_settings_json_at_most_64_kib CHECK (octet_length(VALUE::text) <= 65536)
    CONSTRAINT platform_settings_json_at_most_100_levels CHECK (NOT jsonb_path_exists(VALUE, 'strict $.**{100 to last}'));
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
  CREATE DOMAIN public.settings_description AS text
    CONSTRAINT platform_settings_description_at_most_4_kib CHECK (octet_length(VALUE) <= 4096);
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
  CREATE DOMAIN public.settings_channel AS text
    CONSTRAINT settings_head_channel_format CHECK (VALUE ~ '^[a-z][a-z0-9_]{15,62}$');
EXCEPTION WHEN duplicate_object THEN NULL; END $$;

-- Where somebody's own view or policy is about these columns, PostgreSQL does not
-- let their types be altered: then all stays as it is, and only slower.
DO $$ BEGIN
  ALTER TABLE public.platform_settings
    DROP CONSTRAINT IF EXISTS platform_settings_key_format,
    DROP CONSTRAINT IF EXISTS platform_settings_float_is_finite,
    DROP CONSTRAINT IF EXISTS platform_settings_text_at_most_64_kib,
    DROP CONSTRAINT IF EXISTS platform_settings_time_has_four_digit_year,
    DROP CONSTRAINT IF EXISTS platform_settings_json_at_most_64_kib,
    DROP CONSTRAINT IF EXISTS platform_settings_json_at_most_100_levels,
    DROP CONSTRAINT IF EXISTS platform_settings_description_at_most_4_kib,
    ALTER COLUMN key         TYPE public.settings_key,
    ALTER COLUMN value_float TYPE public.settings_float,
    ALTER COLUMN value_text  TYPE public.settings_text,
    ALTER COLUMN value_time  TYPE public.settings_time,
    ALTER COLUMN value_json  TYPE public.settings_json,
    ALTER COLUMN description TYPE public.settings_description;
EXCEPTION WHEN feature_not_supported OR dependent_objects_still_exist THEN
  RAISE WARNING 'the rules of platform_settings stay CHECKs, which is slower: %. Drop what depends on the columns and run this file again', SQLERRM;
END $$;
ALTER TABLE public.settings_head
  DROP CONSTRAINT IF EXISTS settings_head_channel_format,
  ALTER COLUMN channel TYPE public.settings_channel;

-- Of several columns, so it stays with the table; as a function it is parsed once
-- a session, too. Anyone who writes runs it, with a search_path of its own.
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
  ADD CONSTRAINT platform_settings_well_known_kind
    CHECK (public.settings_well_known_kind(key, value_bool, value_int, value_text, value_time));

-- Whoever writes needs it, as for any function in a CHECK; default privileges may
-- have taken it away.
DO $$ BEGIN
  IF NOT has_function_privilege('public', 'public.settings_well_known_kind(text, boolean, bigint, text, timestamptz)', 'EXECUTE') THEN
    GRANT EXECUTE ON FUNCTION public.settings_well_known_kind(text, boolean, bigint, text, timestamptz) TO PUBLIC;
  END IF;
END $$;

-- Sessions that have compiled these for rows of the types before would fail from
-- now on. To be altered makes them compile anew.
ALTER FUNCTION public.settings_stamp() SECURITY DEFINER;
ALTER FUNCTION public.settings_row() SECURITY DEFINER;
ALTER FUNCTION public.settings_truncate() SECURITY DEFINER;
ALTER FUNCTION public.settings_commit() SECURITY DEFINER;
