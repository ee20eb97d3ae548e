-- v0 -> v1: The journal, its lanes and links, leases and state
-- transaction: on
--
-- Ids of networks are bytes, not text: a network may use any byte in them, and they order the same everywhere.
-- Times are milliseconds since 1970. "sealed" columns are XChaCha20-Poly1305 under the key file, see seal.go.

CREATE TABLE meta (
	key   TEXT  PRIMARY KEY,
	value BYTEA NOT NULL
);

CREATE TABLE event (
	id         BYTEA  NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	network    TEXT   NOT NULL CHECK (network <> ''),
	room       BYTEA  NOT NULL CHECK (length(room) > 0),
	native     BYTEA  NOT NULL,
	data       BYTEA, -- sealed; NULL once wiped
	excerpt    BYTEA, -- sealed author and excerpt; NULL once retracted
	accepted   BIGINT NOT NULL,
	keep_until BIGINT NOT NULL -- data stays until then and until the last delivery has ended
);
CREATE INDEX event_accepted ON event (accepted);
CREATE INDEX event_unwiped ON event (accepted) WHERE data IS NOT NULL;

CREATE TABLE delivery (
	-- only: postgres
	seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	-- only: sqlite
	seq      INTEGER PRIMARY KEY AUTOINCREMENT,
	key      TEXT    NOT NULL UNIQUE CHECK (key <> ''),
	event    BYTEA   NOT NULL CHECK (length(event) = 16),
	network  TEXT    NOT NULL CHECK (network <> ''),
	room     BYTEA   NOT NULL CHECK (length(room) > 0),
	seal     BOOLEAN NOT NULL,
	attempt  INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
	due      BIGINT  NOT NULL,
	state    INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1, 2)), -- pending, done, dead
	reason   TEXT    CHECK (reason IS NULL OR state = 2),
	accepted BIGINT  NOT NULL
);
CREATE INDEX delivery_lane ON delivery (network, room, seq) WHERE state = 0;
CREATE INDEX delivery_event ON delivery (event);

CREATE TABLE link (
	-- only: postgres
	seq      BIGINT GENERATED ALWAYS AS IDENTITY,
	-- only: sqlite
	seq      INTEGER PRIMARY KEY AUTOINCREMENT,
	network  TEXT    NOT NULL CHECK (network <> ''),
	room     BYTEA   NOT NULL CHECK (length(room) > 0),
	native   BYTEA   NOT NULL CHECK (length(native) BETWEEN 1 AND 1000),
	event    BYTEA   CHECK (event IS NULL OR length(event) = 16), -- NULL: seen, nothing more
	part     BYTEA   NOT NULL,
	alias    BOOLEAN NOT NULL,
	accepted BIGINT  NOT NULL,
	-- only: postgres
	PRIMARY KEY (network, room, native)
	-- only: sqlite
	UNIQUE (network, room, native)
);
CREATE INDEX link_event ON link (event, network, room, seq) WHERE event IS NOT NULL;
CREATE INDEX link_seen ON link (accepted) WHERE event IS NULL;

CREATE TABLE lease (
	network TEXT   PRIMARY KEY,
	epoch   BIGINT NOT NULL CHECK (epoch >= 0),
	until   BIGINT NOT NULL
);

CREATE TABLE state (
	network TEXT  NOT NULL CHECK (network <> ''),
	key     BYTEA NOT NULL CHECK (length(key) BETWEEN 1 AND 2000),
	value   BYTEA NOT NULL, -- sealed
	PRIMARY KEY (network, key)
);

-- Sealed bytes do not compress, and what changes with each message should find room on its own page.
-- only: postgres until "end only"
ALTER TABLE event ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE state ALTER COLUMN value SET STORAGE EXTERNAL;
ALTER TABLE state SET (fillfactor = 70);
ALTER TABLE delivery SET (fillfactor = 80);
-- end only postgres
