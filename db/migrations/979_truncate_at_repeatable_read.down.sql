CREATE OR REPLACE FUNCTION public.settings_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
BEGIN
  PERFORM public.settings_touch(s.key, to_jsonb(s), NULL) FROM public.platform_settings s;
  RETURN NULL;
END $$;
