/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables (docs/ledger.md). Each step makes one version of the schema from the one before, in
 * the transaction that also says so; a step that has been released is never changed.
 *
 * The triggers keep mistakes out, not attackers: who may write to the database may drop them.
 */
#include "record/ledger_backend.h"

const char *const hm_ledger_steps_sqlite[HM_LEDGER_VERSION] = {
    /* application_id: "HMLG" */
    "PRAGMA application_id = 1213025351;"
    "CREATE TABLE ledger (id TEXT NOT NULL, created TEXT NOT NULL) STRICT;"
    "CREATE TABLE entries ("
    "  sequence INTEGER PRIMARY KEY,"
    "  previous TEXT NOT NULL,"
    "  digest TEXT NOT NULL,"
    "  id TEXT NOT NULL UNIQUE,"
    "  time TEXT NOT NULL,"
    "  kind TEXT NOT NULL,"
    "  model TEXT,"
    "  event TEXT NOT NULL"
    ") STRICT;"
    "CREATE TRIGGER entries_stay BEFORE DELETE ON entries"
    "  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    "CREATE TRIGGER entries_stay_as_they_are BEFORE UPDATE ON entries"
    "  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    "PRAGMA user_version = 1;",

    "CREATE TABLE checkpoints ("
    "  number INTEGER PRIMARY KEY,"
    "  sequence INTEGER NOT NULL,"
    "  envelope TEXT NOT NULL"
    ") STRICT;"
    "CREATE TRIGGER checkpoints_stay BEFORE DELETE ON checkpoints"
    "  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    "CREATE TRIGGER checkpoints_stay_as_they_are BEFORE UPDATE ON checkpoints"
    "  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    "CREATE INDEX entries_of_model ON entries (model, sequence);"
    "PRAGMA user_version = 2;",
};

const char *const hm_ledger_steps_postgres[HM_LEDGER_VERSION] = {
    "DO $$ BEGIN"
    "  IF to_regnamespace('hallmark') IS NULL THEN CREATE SCHEMA hallmark; END IF;"
    "END $$;"
    "CREATE TABLE hallmark.ledger (id text NOT NULL, created text NOT NULL);"
    "CREATE TABLE hallmark.version (version bigint NOT NULL);"
    "INSERT INTO hallmark.version VALUES (1);"
    "CREATE TABLE hallmark.entries ("
    "  sequence bigint PRIMARY KEY,"
    "  previous text NOT NULL,"
    "  digest text NOT NULL,"
    "  id text NOT NULL UNIQUE,"
    "  time text NOT NULL,"
    "  kind text NOT NULL,"
    "  model text,"
    "  event text NOT NULL"
    ");"
    "CREATE FUNCTION hallmark.refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
    "  BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;"
    "CREATE TRIGGER entries_stay BEFORE DELETE OR UPDATE OR TRUNCATE ON hallmark.entries"
    "  FOR EACH STATEMENT EXECUTE FUNCTION hallmark.refuse();",

    "CREATE TABLE hallmark.checkpoints ("
    "  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    "  sequence bigint NOT NULL,"
    "  envelope text NOT NULL"
    ");"
    "CREATE TRIGGER checkpoints_stay BEFORE DELETE OR UPDATE OR TRUNCATE ON hallmark.checkpoints"
    "  FOR EACH STATEMENT EXECUTE FUNCTION hallmark.refuse();"
    "CREATE INDEX entries_of_model ON hallmark.entries (model, sequence);"
    "UPDATE hallmark.version SET version = 2;",
};
