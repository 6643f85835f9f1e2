-- What the files beside this one were recorded from, on PostgreSQL 15.18 with TimeZone UTC:
-- stream.hex, a message a line:
--   SELECT encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes('s', NULL, NULL, 'proto_version', '1', 'publication_names', 'p')
-- kinds.copy: COPY kinds TO STDOUT
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN cents AS int4;
CREATE TABLE kinds (id int8 PRIMARY KEY, b bool, i2 int2, i4 int4, o oid, f4 float4, f8 float8, n numeric, t text, u uuid,
  j json, jb jsonb, by bytea, d date, ts timestamp, tz timestamptz, ti time, ba bool[], na numeric[], ja jsonb[], ta text[],
  p point, m mood, c cents, v varchar(20), ch char(4));
CREATE TABLE notes (id int4 PRIMARY KEY, title text, body text);
ALTER TABLE notes ALTER body SET STORAGE EXTERNAL;
CREATE TABLE full_notes (id int4, title text, body text);
ALTER TABLE full_notes REPLICA IDENTITY FULL;
ALTER TABLE full_notes ALTER body SET STORAGE EXTERNAL;
CREATE PUBLICATION p FOR ALL TABLES;
SELECT pg_create_logical_replication_slot('s', 'pgoutput');
INSERT INTO kinds VALUES
 (1, true, -32768, 2147483647, 4294967295, 1.1, 1e-7, 12345678901234567890.1230, E'tab\tnew\nline\\ é😀', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  E'{"a": [1,\n 2],  "b":"x y"}', '{"b":1e3,  "a":"q\"x"}', '\x00ff10', '2024-02-29', '2024-01-02 03:04:05.123456', '2024-01-02 03:04:05.1+02', '24:00',
  '{t,NULL,f}', '{{1.50,NaN},{NULL,-3}}', ARRAY['{"a": 1}'::jsonb, NULL], '[0:1]={"a b\\c",é}', '(1,2)', 'happy', 995, 'vc', 'ab'),
 (2, NULL, NULL, NULL, NULL, 'NaN', '-Infinity', 'Infinity', '', NULL, '[]', 'null', '\x', 'infinity', '-infinity', 'infinity', '00:00:00.000001',
  '{}', '{}', '{}', '{NULL,"NULL",""}', NULL, NULL, NULL, NULL, NULL),
 (3, NULL, 0, 0, 0, 3.4028235e38, 5e-324, -0.000000000001, 'a text of more than twelve bytes', NULL, '"\ud800"', '"é"', '\x000102030405060708090a0b0c0d', '0044-03-15 BC', '0001-12-31 23:59:59.999999 BC',
  '12345-06-07 08:09:10+00', '23:59:59.999999', '{{t},{f}}', '{1e+400}', '{}', '{"line\nbreak"}', NULL, NULL, NULL, NULL, NULL);
INSERT INTO notes VALUES (1, 'one', repeat('x', 3000)), (2, 'two', 'short');
UPDATE notes SET title = 'uno' WHERE id = 1;
UPDATE notes SET id = 10 WHERE id = 1;
DELETE FROM notes WHERE id = 2;
BEGIN;
INSERT INTO full_notes VALUES (1, 'one', repeat('y', 3000));
UPDATE full_notes SET title = 'uno';
ALTER TABLE full_notes ADD COLUMN n int4 DEFAULT 5;
UPDATE full_notes SET title = NULL;
DELETE FROM full_notes;
COMMIT;
BEGIN;
INSERT INTO notes VALUES (3, 'three', NULL);
TRUNCATE notes, full_notes;
INSERT INTO notes VALUES (4, 'four', NULL);
COMMIT;
