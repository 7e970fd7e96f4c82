DROP TABLE IF EXISTS public.platform_settings;
