-- TRUNCATE takes every row, also those that were committed since the snapshot of
-- its transaction at REPEATABLE READ or SERIALIZABLE. The trigger does not see
-- them, and where nothing else changed they would vanish without a revision. To
-- lock the head makes that what it is, a serialization failure (40001). It holds
-- nobody up: TRUNCATE itself locks the table until COMMIT.

CREATE OR REPLACE FUNCTION public.settings_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
BEGIN
  PERFORM FROM public.settings_head FOR UPDATE;
  PERFORM public.settings_touch(s.key, to_jsonb(s), NULL) FROM public.platform_settings s;
  RETURN NULL;
END $$;
