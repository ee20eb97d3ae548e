-- v2 -> v3: What stands for something else, reactions, links to files, pictures
-- transaction: on

-- The event that this one stands for: of an edit its original, of a change of reactions the first one.
ALTER TABLE event ADD COLUMN stands BYTEA CHECK (stands IS NULL OR length(stands) = 16);
CREATE INDEX event_stands ON event (stands) WHERE stands IS NOT NULL;

-- What somebody thinks of an event. A set that is empty by now stays, for its anchor.
CREATE TABLE reaction (
	anchor   BYTEA  NOT NULL PRIMARY KEY CHECK (length(anchor) = 16),
	target   BYTEA  NOT NULL CHECK (length(target) = 16),
	network  TEXT   NOT NULL CHECK (network <> ''), -- the person's own
	person   BYTEA  NOT NULL CHECK (length(person) > 0),
	emoji    BYTEA, -- sealed, with the person's name; NULL once the target was retracted
	began    BIGINT NOT NULL,
	UNIQUE (target, network, person)
);

-- What lies behind a link: one row for each event whose retraction kills it, the data in one of them.
CREATE TABLE media (
	id       BYTEA  NOT NULL CHECK (length(id) = 8),
	event    BYTEA  NOT NULL CHECK (length(event) = 16),
	data     BYTEA, -- sealed
	until    BIGINT NOT NULL,
	PRIMARY KEY (id, event)
);
CREATE INDEX media_event ON media (event);
CREATE INDEX media_until ON media (until);

-- Pictures of people and rooms.
CREATE TABLE image (
	hash     BYTEA  NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
	used     BIGINT NOT NULL, -- last, about; in front of data, which SQLite would have to read to find it
	mime     TEXT   NOT NULL,
	data     BYTEA  NOT NULL -- sealed
);

-- only: postgres until "end only"
ALTER TABLE media ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE image ALTER COLUMN data SET STORAGE EXTERNAL;
-- end only postgres
