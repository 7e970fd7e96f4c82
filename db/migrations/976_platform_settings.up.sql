-- The typed key/value table. It may be run again on a database that has it:
-- nothing is dropped, and the seed never overwrites a value.

CREATE TABLE IF NOT EXISTS public.platform_settings (
  key         text COLLATE "C" NOT NULL,
  value_bool  boolean,
  value_int   bigint,
  value_float double precision,
  value_text  text,
  value_time  timestamptz,
  value_json  jsonb,
  description text        NOT NULL DEFAULT '',
  public      boolean     NOT NULL DEFAULT false,
  updated_at  timestamptz NOT NULL DEFAULT now(),
  updated_by  text        NOT NULL DEFAULT session_user,

  CONSTRAINT platform_settings_pkey PRIMARY KEY (key),
  CONSTRAINT platform_settings_key_format
    CHECK (key ~ '^[a-z][a-z0-9_.]{0,126}$'),
  CONSTRAINT platform_settings_exactly_one_value
    CHECK (num_nonnulls(value_bool, value_int, value_float, value_text, value_time, value_json) = 1),
  -- JSON has no words for these, so neither the API nor a notification could carry them.
  CONSTRAINT platform_settings_float_is_finite
    CHECK (value_float NOT IN ('NaN', 'Infinity', '-Infinity')),
  CONSTRAINT platform_settings_time_has_four_digit_year
    CHECK (value_time > '0001-01-01 00:00:00+00' AND value_time < '10000-01-01 00:00:00+00'),
  CONSTRAINT platform_settings_text_at_most_64_kib
    CHECK (octet_length(value_text) <= 65536),
  CONSTRAINT platform_settings_json_at_most_64_kib
    CHECK (octet_length(value_json::text) <= 65536),
  -- Readers of JSON have limits of their own; one setting must not break a list of all.
  CONSTRAINT platform_settings_json_at_most_100_levels
    CHECK (NOT jsonb_path_exists(value_json, 'strict $.**{100 to last}')),
  CONSTRAINT platform_settings_description_at_most_4_kib
    CHECK (octet_length(description) <= 4096),
  -- Named to sort last: PostgreSQL checks by name, and a value that is missing
  -- altogether should be reported as that.
  CONSTRAINT platform_settings_well_known_kind CHECK (
    CASE key
      WHEN 'maintenance_mode'        THEN value_bool IS NOT NULL
      WHEN 'maintenance_read_only'   THEN value_bool IS NOT NULL
      WHEN 'maintenance_message'     THEN value_text IS NOT NULL
      WHEN 'maintenance_retry_after' THEN value_int IS NOT NULL AND value_int BETWEEN 1 AND 86400
      WHEN 'maintenance_starts_at'   THEN value_time IS NOT NULL
      WHEN 'maintenance_ends_at'     THEN value_time IS NOT NULL
      ELSE true
    END)
);

COMMENT ON TABLE  public.platform_settings IS 'One row a setting. Change it with plain SQL; every pod has it in force milliseconds after COMMIT.';
COMMENT ON COLUMN public.platform_settings.key         IS 'Lower case, starts with a letter, then letters, digits, _ and . (127 characters at most).';
COMMENT ON COLUMN public.platform_settings.value_bool  IS 'Exactly one value_ column is set; which one is the kind, and it never changes.';
COMMENT ON COLUMN public.platform_settings.value_int   IS 'Kind int: 64 bits, signed.';
COMMENT ON COLUMN public.platform_settings.value_float IS 'Kind float: 64 bits, finite.';
COMMENT ON COLUMN public.platform_settings.value_text  IS 'Kind text: 64 KiB at most, in bytes.';
COMMENT ON COLUMN public.platform_settings.value_time  IS 'Kind time: an instant, in microseconds.';
COMMENT ON COLUMN public.platform_settings.value_json  IS 'Kind json: 64 KiB at most as text, 100 levels deep; JSON null is a value.';
COMMENT ON COLUMN public.platform_settings.description IS 'For people; 4 KiB at most.';
COMMENT ON COLUMN public.platform_settings.public      IS 'Readable over HTTP without a token.';
COMMENT ON COLUMN public.platform_settings.updated_at  IS 'Start of the transaction that last changed the row. Set by a trigger.';
COMMENT ON COLUMN public.platform_settings.updated_by  IS 'Who did that: settings.actor, else the session user. Set by a trigger.';

INSERT INTO public.platform_settings (key, value_bool, description)
VALUES ('maintenance_mode', false, 'Answers 503 to everything but health, admin and reading settings.')
ON CONFLICT (key) DO NOTHING;
