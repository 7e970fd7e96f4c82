package settings

// triggers lists the triggers, each with its table.
const triggers = `(VALUES
	('settings_stamp', 'public.platform_settings'), ('settings_row', 'public.platform_settings'),
	('settings_truncate', 'public.platform_settings'), ('settings_commit', 'public.settings_pending')) want (name, owner)
	LEFT JOIN pg_trigger t ON t.tgname = want.name AND t.tgrelid = to_regclass(want.owner)`

// triggersColumn says what is wrong with the triggers; it is empty if all are ENABLE
// ALWAYS, as the migrations made them.
const triggersColumn = `
	(SELECT coalesce(string_agg(want.name || CASE t.tgenabled
	          WHEN 'D' THEN ' is disabled' WHEN 'O' THEN ' is skipped by replicas' WHEN 'R' THEN ' runs on replicas only'
	          ELSE ' is missing' END, ', ' ORDER BY want.name), '')
	   FROM ` + triggers + `
	  WHERE t.tgenabled IS DISTINCT FROM 'A')`

// firingColumn says whether all triggers fire in an ordinary session. If not, a change
// gets no revision, and a revision does not say what is in the table.
const firingColumn = `
	(SELECT bool_and(t.tgenabled IN ('A', 'O')) IS TRUE AND count(t.tgname) = count(*) FROM ` + triggers + `)`
