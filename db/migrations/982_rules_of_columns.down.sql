ALTER TABLE public.platform_settings
  ALTER COLUMN key         TYPE text COLLATE "C",
  ALTER COLUMN value_float TYPE double precision,
  ALTER COLUMN value_text  TYPE text,
  ALTER COLUMN value_time  TYPE timestamptz,
  ALTER COLUMN value_json  TYPE jsonb,
  ALTER COLUMN description TYPE text,
  DROP CONSTRAINT IF EXISTS platform_settings_key_format,
  DROP CONSTRAINT IF EXISTS platform_settings_float_is_finite,
  DROP CONSTRAINT IF EXISTS platform_settings_time_has_four_digit_year,
  DROP CONSTRAINT IF EXISTS platform_settings_text_at_most_64_kib,
  DROP CONSTRAINT IF EXISTS platform_settings_json_at_most_64_kib,
  DROP CONSTRAINT IF EXISTS platform_settings_json_at_most_100_levels,
  DROP CONSTRAINT IF EXISTS platform_settings_description_at_most_4_kib,
  DROP CONSTRAINT IF EXISTS platform_settings_well_known_kind,
  ADD CONSTRAINT platform_settings_key_format
    CHECK (key ~ '^[a-z][a-z0-9_.]{0,126}$'),
  ADD CONSTRAINT platform_settings_float_is_finite
    CHECK (value_float NOT IN ('NaN', 'Infinity', '-Infinity')),
  ADD CONSTRAINT platform_settings_time_has_four_digit_year
    CHECK (value_time > '0001-01-01 00:00:00+00' AND value_time < '10000-01-01 00:00:00+00'),
  ADD CONSTRAINT platform_settings_text_at_most_64_kib
    CHECK (octet_length(value_text) <= 65536),
  ADD CONSTRAINT platform_settings_json_at_most_64_kib
    CHECK (octet_length(value_json::text) <= 65536),
  ADD CONSTRAINT platform_settings_json_at_most_100_levels
    CHECK (NOT jsonb_path_exists(value_json, 'strict $.**{100 to last}')),
  ADD CONSTRAINT platform_settings_description_at_most_4_kib
    CHECK (octet_length(description) <= 4096),
  ADD CONSTRAINT platform_settings_well_known_kind CHECK (
    CASE key
      WHEN 'maintenance_mode'        THEN value_bool IS NOT NULL
      WHEN 'maintenance_read_only'   THEN value_bool IS NOT NULL
      WHEN 'maintenance_message'     THEN value_text IS NOT NULL
      WHEN 'maintenance_retry_after' THEN value_int IS NOT NULL AND value_int BETWEEN 1 AND 86400
      WHEN 'maintenance_starts_at'   THEN value_time IS NOT NULL
      WHEN 'maintenance_ends_at'     THEN value_time IS NOT NULL
      ELSE true
    END);
ALTER TABLE public.settings_head
  ALTER COLUMN channel TYPE text,
  ADD CONSTRAINT settings_head_channel_format CHECK (channel ~ '^[a-z][a-z0-9_]{15,62}$');
DROP FUNCTION IF EXISTS public.settings_well_known_kind(text, boolean, bigint, text, timestamptz);
DROP DOMAIN IF EXISTS public.settings_key, public.settings_float, public.settings_text, public.settings_time,
  public.settings_json, public.settings_description, public.settings_channel;

ALTER FUNCTION public.settings_stamp() SECURITY DEFINER; -- to be compiled anew
ALTER FUNCTION public.settings_row() SECURITY DEFINER;
ALTER FUNCTION public.settings_truncate() SECURITY DEFINER;
ALTER FUNCTION public.settings_commit() SECURITY DEFINER;
