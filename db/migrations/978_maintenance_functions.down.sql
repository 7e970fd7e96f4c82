DROP FUNCTION IF EXISTS public.maintenance_off(text);
DROP FUNCTION IF EXISTS public.maintenance_on(text, boolean, text);
