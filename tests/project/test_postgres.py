def test_x(database: str) -> None:
    import psycopg

    with psycopg.connect(database) as c:
        assert c.execute("select count(*) from raw.events").fetchone() == (0,)
