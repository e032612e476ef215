-- What PostgreSQL needs before the first migration.

-- Batches are numbered as they begin, under the installation's lock: whoever finds no gap knows that nobody else has written.
CREATE SEQUENCE batches;

-- As SQLite's, for paths such as $.a.b[0]; numbers come as text. Text of PostgreSQL holds no NUL, which JSON may name.
CREATE FUNCTION json_extract(body TEXT, path TEXT) RETURNS TEXT
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CAST(replace(body, '\u0000', '\ufffd') AS json)
    #>> string_to_array(replace(replace(substr(path, 3), '[', '.'), ']', ''), '.');
