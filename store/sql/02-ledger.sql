-- v1 -> v2: What operators want to know of deliveries, and people to forget
-- transaction: on

-- SQLite cannot change a table's checks: the table is made anew. Its sequence must go on, since numbers of deliveries
-- that were swept are not given again.
-- only: sqlite until "end only"
ALTER TABLE delivery RENAME TO delivery_v1;
DROP INDEX delivery_lane;
DROP INDEX delivery_event;
CREATE TABLE delivery (
	seq      INTEGER PRIMARY KEY AUTOINCREMENT,
	key      TEXT    NOT NULL UNIQUE CHECK (key <> ''),
	event    BYTEA   NOT NULL CHECK (length(event) = 16),
	network  TEXT    NOT NULL CHECK (network <> ''),
	room     BYTEA   NOT NULL CHECK (length(room) > 0),
	seal     BOOLEAN NOT NULL,
	attempt  INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
	due      BIGINT  NOT NULL,
	state    INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1, 2, 3)), -- pending, done, given up, dropped by an operator
	reason   TEXT    CHECK (reason IS NULL OR state IN (2, 3)), -- what the sender was told
	accepted BIGINT  NOT NULL,
	tried    BIGINT, -- when the side was asked last
	ended    BIGINT, -- NULL while it is pending
	problem  TEXT    -- what the side said last that went wrong, for operators
);
INSERT INTO delivery (seq, key, event, network, room, seal, attempt, due, state, reason, accepted)
	SELECT seq, key, event, network, room, seal, attempt, due, state, reason, accepted FROM delivery_v1;
DELETE FROM sqlite_sequence WHERE name = 'delivery';
UPDATE sqlite_sequence SET name = 'delivery' WHERE name = 'delivery_v1';
DROP TABLE delivery_v1;
CREATE INDEX delivery_lane ON delivery (network, room, seq) WHERE state = 0;
CREATE INDEX delivery_event ON delivery (event);
-- end only sqlite
-- only: postgres until "end only"
ALTER TABLE delivery DROP CONSTRAINT delivery_state_check, DROP CONSTRAINT delivery_check,
	ADD CHECK (state IN (0, 1, 2, 3)), -- pending, done, given up, dropped by an operator
	ADD CHECK (reason IS NULL OR state IN (2, 3)), -- what the sender was told
	ADD COLUMN tried BIGINT, -- when the side was asked last
	ADD COLUMN ended BIGINT, -- NULL while it is pending
	ADD COLUMN problem TEXT; -- what the side said last that went wrong, for operators
-- end only postgres

CREATE INDEX delivery_dead ON delivery (network, room, seq) WHERE state = 2;

-- Whom an operator wants forgotten, until the side of each network has done so.
CREATE TABLE forget (
	network TEXT   NOT NULL CHECK (network <> ''), -- whose side is asked
	home    TEXT   NOT NULL, -- the person's own network
	person  BYTEA  NOT NULL CHECK (length(person) > 0),
	asked   BIGINT NOT NULL,
	PRIMARY KEY (network, home, person)
);
