-- What each row answers to a predicate, in the order of id: t, f, n (null), or the SQLSTATE of its error.
CREATE FUNCTION verdicts(predicate text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  verdicts text[];
  verdict text;
  row record;
BEGIN
  BEGIN
    EXECUTE 'SELECT array_agg(CASE WHEN v THEN ''t'' WHEN NOT v THEN ''f'' ELSE ''n'' END ORDER BY id)
      FROM (SELECT id, (' || predicate || ') AS v FROM t OFFSET 0) a' INTO verdicts;
    RETURN verdicts;
  EXCEPTION WHEN others THEN
    verdicts := '{}';
  END;
  FOR row IN SELECT id FROM t ORDER BY id LOOP
    BEGIN
      EXECUTE 'SELECT CASE WHEN v THEN ''t'' WHEN NOT v THEN ''f'' ELSE ''n'' END
        FROM (SELECT (' || predicate || ') AS v FROM t WHERE id = $1 OFFSET 0) a' INTO verdict USING row.id;
    EXCEPTION WHEN others THEN
      verdict := SQLSTATE;
    END;
    verdicts := verdicts || verdict;
  END LOOP;
  RETURN verdicts;
END $$;
