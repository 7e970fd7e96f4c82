package migrations_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"platform-settings/test/pgtest"
)

func TestChangesAfterTheCommitWasNumberedAreRefused(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.Database(t))
	pgtest.Exec(t, conn, `BEGIN; UPDATE platform_settings SET value_bool = true; SET CONSTRAINTS ALL IMMEDIATE;
		UPDATE platform_settings SET description = 'more'`)
	_, err := conn.Exec(t.Context(), `COMMIT`)
	if err == nil || !strings.Contains(err.Error(), "SET CONSTRAINTS") {
		t.Errorf("%v, want it refused: a second revision would show pods half a commit", err)
	}
}

func TestBadSQLIsRefusedWithTheRulesName(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.Database(t))
	for sql, rule := range map[string]string{
		`INSERT INTO platform_settings (key, value_bool, value_int) VALUES ('k', true, 1)`: "platform_settings_exactly_one_value",
		`INSERT INTO platform_settings (key) VALUES ('k')`:                                 "platform_settings_exactly_one_value",
		`UPDATE platform_settings SET value_bool = NULL`:                                   "platform_settings_exactly_one_value",
		`UPDATE platform_settings SET value_text = 'x'`:                                    "platform_settings_exactly_one_value",
		`UPDATE platform_settings SET value_bool = NULL, value_text = 'x'`:                 "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_bool) VALUES ('k', true); UPDATE platform_settings SET value_bool = NULL, value_text = 'x' WHERE key = 'k'`:                                                                                                                      "platform_settings_kind_never_changes",
		`INSERT INTO platform_settings (key, value_int) VALUES ('k', 1); UPDATE platform_settings SET key = 'maintenance_mode2', value_int = NULL, value_text = 'x' WHERE key = 'k'; UPDATE platform_settings SET value_text = NULL, value_int = 1 WHERE key = 'maintenance_mode2'`: "platform_settings_kind_never_changes",
		`INSERT INTO platform_settings (key, value_int) VALUES ('k', 1); UPDATE platform_settings SET key = 'maintenance_message' WHERE key = 'k'`:                                                                                                                                  "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_text) VALUES ('maintenance_message', 'm') ON CONFLICT DO NOTHING; UPDATE platform_settings SET value_text = NULL, value_int = 1 WHERE key = 'maintenance_message'`:                                                               "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_int) VALUES ('K', 1)`:                                                         "platform_settings_key_format",
		`INSERT INTO platform_settings (key, value_int) VALUES ('', 1)`:                                                          "platform_settings_key_format",
		`INSERT INTO platform_settings (key, value_int) VALUES (E'k\n', 1)`:                                                      "platform_settings_key_format",
		`INSERT INTO platform_settings (key, value_int) VALUES ('k' || repeat('x', 127), 1)`:                                     "platform_settings_key_format",
		`INSERT INTO platform_settings (key, value_text) VALUES ('k', repeat('€', 21846))`:                                       "platform_settings_text_at_most_64_kib",
		`INSERT INTO platform_settings (key, value_json) VALUES ('k', to_jsonb(repeat('x', 65535)))`:                             "platform_settings_json_at_most_64_kib",
		`INSERT INTO platform_settings (key, value_json) VALUES ('k', (repeat('[', 101) || repeat(']', 101))::jsonb)`:            "platform_settings_json_at_most_100_levels",
		`INSERT INTO platform_settings (key, value_json) VALUES ('k', (repeat('{"a":', 101) || '1' || repeat('}', 101))::jsonb)`: "platform_settings_json_at_most_100_levels",
		`INSERT INTO platform_settings (key, value_time) VALUES ('k', '0001-01-01 00:00:00+00')`:                                 "platform_settings_time_has_four_digit_year",
		`INSERT INTO platform_settings (key, value_float) VALUES ('k', 'NaN')`:                                                   "platform_settings_float_is_finite",
		`INSERT INTO platform_settings (key, value_float) VALUES ('k', '-Infinity')`:                                             "platform_settings_float_is_finite",
		`INSERT INTO platform_settings (key, value_time) VALUES ('k', 'infinity')`:                                               "platform_settings_time_has_four_digit_year",
		`INSERT INTO platform_settings (key, value_time) VALUES ('k', '0001-01-01 BC')`:                                          "platform_settings_time_has_four_digit_year",
		`INSERT INTO platform_settings (key, value_int) VALUES ('maintenance_message', 1)`:                                       "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_int) VALUES ('maintenance_retry_after', 0)`:                                   "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_int, description) VALUES ('k', 1, repeat('x', 4097))`:                         "platform_settings_description_at_most_4_kib",
		`INSERT INTO settings_head DEFAULT VALUES`:                                                                               "settings_head_pkey",
	} {
		_, err := conn.Exec(t.Context(), sql)
		pg, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || pg.ConstraintName != rule || !strings.Contains(pg.Message, rule) {
			t.Errorf("%s:\n\t%v, want the rule %s", sql, err, rule)
		}
	}
	if got := revision(t, conn); got != 1 {
		t.Errorf("refused changes made revisions: %d", got)
	}
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_text) VALUES ('k' || repeat('x', 126), repeat('x', 65536))`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_json) VALUES ('deep', (repeat('[', 100) || repeat(']', 100))::jsonb)`)
}
