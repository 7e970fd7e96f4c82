DROP FUNCTION IF EXISTS public.settings_await(bigint, interval);
DROP FUNCTION IF EXISTS public.settings_leave(uuid);
DROP FUNCTION IF EXISTS public.settings_check_in(uuid, bigint, text, text);
DROP FUNCTION IF EXISTS public.settings_acknowledge(uuid, bigint, text, text);
DROP FUNCTION IF EXISTS public.settings_join(uuid, text, text, timestamptz, interval, interval);
DROP VIEW IF EXISTS public.settings_fleet;
DROP TABLE IF EXISTS public.settings_pods;
DROP TABLE IF EXISTS public.settings_members;
