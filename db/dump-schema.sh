#!/bin/sh
# Writes db/schema.sql: the schema after all migrations, as pg_dump prints it.
# Needs pg_dump, and the DATABASE_URL of a migrated database.
set -eu
cd "$(dirname "$0")"
{
	echo '-- The whole schema, dumped from a migrated database by make schema. Do not edit.'
	pg_dump --schema-only --no-owner --exclude-table=schema_migrations "$DATABASE_URL" |
		grep -v -e '^-- Dumped' -e '^\\' -e '^SET [^c]' -e '^SELECT pg_catalog.set_config' | cat -s
} >schema.sql
