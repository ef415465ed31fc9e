-- SPDX-License-Identifier: GPL-3.0-or-later
-- Believable trading data. Every account trades in pairs: an order opens a position, its next one closes it; the last
-- two stay open. So each row follows from its number alone, and all sums are exact. seed.py fills in the :numbers.

--- plan
-- One row an order, in the order of time.
CREATE VIEW seed_plan AS
SELECT i + 1 AS order_id, account_id, round, closes, symbol, quantity, filled, price, opened_at_price,
    symbol LIKE '%USD' AS in_usd, CASE WHEN hash / 8 % 2 = closes THEN 'buy' ELSE 'sell' END AS side,
    CASE WHEN hash / 65536 % 5 = 0 THEN 'limit' ELSE 'market' END AS type,
    CASE WHEN filled THEN 'filled' WHEN closes = 1 THEN 'cancelled' ELSE 'rejected' END AS status,
    timestamptz ':start' + (i + (hashint8(i) & 1023) / 1024.0) * interval '14 days' / :orders AS created_at
FROM generate_series(0, :orders - 1) AS i,
    LATERAL (SELECT i % :accounts + 1 AS account_id, i / :accounts AS round) AS a,
    LATERAL (SELECT CASE WHEN round < :rounds - 2 THEN round % 2 ELSE 0 END AS closes) AS b,
    LATERAL (SELECT i - closes * :accounts AS opener) AS c,
    LATERAL (SELECT hashint8(opener) & 2147483647 AS hash, hashint8(i - :accounts) & 2147483647 AS hash_before) AS d,
    LATERAL (SELECT 1 + CASE WHEN round = :rounds - 1 THEN hash_before + 1 ELSE hash END % 8 AS s,
        (1 + hash / 16 % 50) / 100.0 AS quantity, hash / 1024 % 40 > 0 AS filled) AS e,
    LATERAL (SELECT (ARRAY[:symbols])[s] AS symbol, (ARRAY[:homes])[s] AS home) AS f,
    LATERAL (SELECT
        round((home * (1 + 0.012 * sin(i * 44.0::float8 / :orders + s) + (hashint8(i) & 1023) / 2e6))::numeric, 5) AS price,
        round((home * (1 + 0.012 * sin(opener * 44.0::float8 / :orders + s) + (hashint8(opener) & 1023) / 2e6))::numeric, 5)
            AS opened_at_price) AS g;
--- orders
INSERT INTO orders (order_id, account_id, symbol, type, side, quantity, price, status, created_at, filled_at)
SELECT order_id, account_id, symbol, type, side, quantity, price, status, created_at, CASE WHEN filled THEN created_at END
FROM seed_plan;
SELECT setval(pg_get_serial_sequence('orders', 'order_id'), :orders);
--- executions
INSERT INTO executions (execution_id, order_id, account_id, symbol, side, quantity, price, realised_pnl, commission, executed_at)
SELECT order_id, order_id, account_id, symbol, side, quantity, price,
    CASE WHEN closes = 0 THEN 0 ELSE round(CASE side WHEN 'sell' THEN 100000 ELSE -100000 END * quantity
        * (price - opened_at_price) / CASE WHEN in_usd THEN 1 ELSE price END, 2) END,
    round(quantity * 3.50, 2), created_at + interval '3 milliseconds'
FROM seed_plan WHERE filled;
SELECT setval(pg_get_serial_sequence('executions', 'execution_id'), :orders);
--- people
INSERT INTO users (user_id, username, password_hash, email, full_name, created_at)
SELECT n, 'trader' || lpad(n::text, 5, '0'), (ARRAY[:hashes])[n % 16 + 1], 'trader' || n || '@example.com', name,
    timestamptz ':start' - n % 700 * interval '1 day'
FROM generate_series(1, :accounts) AS n, LATERAL (SELECT
    (ARRAY['Ada', 'Bora', 'Chen', 'Dilek', 'Emil', 'Fatma', 'Goran', 'Hana', 'Ivo', 'Julia', 'Kemal'])[n % 11 + 1] || ' ' ||
    (ARRAY['Adler', 'Bauer', 'Celik', 'Demir', 'Eriksen', 'Garcia', 'Horvat'])[n / 11 % 7 + 1] AS name) AS a;
INSERT INTO users (user_id, username, password_hash, full_name, role)
VALUES (:accounts + 1, 'recovery', ':recovery_hash', 'Recovery', 'recovery');
INSERT INTO deposits (account_id, amount, kind, reference, created_at)
SELECT n, CASE k WHEN 3 THEN -500 ELSE 1000 * k + n % 100 + 0.50 END, CASE k WHEN 3 THEN 'withdrawal' ELSE 'deposit' END,
    'bank-' || n || '-' || k, timestamptz ':start' + (n % 300 + k * 3) * interval '1 hour'
FROM generate_series(1, :accounts) AS n, generate_series(1, 3) AS k;
INSERT INTO positions (account_id, symbol, quantity, average_price, used_margin, updated_at)
SELECT account_id, symbol, CASE side WHEN 'buy' THEN quantity ELSE -quantity END, price,
    round(quantity * 100000 * CASE WHEN in_usd THEN price ELSE 1 END / 30, 2), created_at
FROM seed_plan WHERE filled AND round >= :rounds - 2;
INSERT INTO accounts (account_id, user_id, balance, equity, used_margin, free_margin, opening_balance)
SELECT account_id, account_id, balance, balance, used_margin, balance - used_margin, opening
FROM generate_series(1, :accounts) AS account_id
    JOIN (SELECT account_id, sum(realised_pnl - commission) AS result FROM executions GROUP BY 1) AS e USING (account_id)
    JOIN (SELECT account_id, sum(amount) AS deposited FROM deposits GROUP BY 1) AS d USING (account_id)
    LEFT JOIN (SELECT account_id, sum(used_margin) AS margin FROM positions GROUP BY 1) AS p USING (account_id),
    LATERAL (SELECT 50000 + account_id % 200 * 1000 AS opening) AS a,
    LATERAL (SELECT opening + deposited + result AS balance, coalesce(margin, 0) AS used_margin) AS b;
INSERT INTO accounts (account_id, user_id, balance, equity, used_margin, free_margin, opening_balance)
VALUES (:accounts + 1, :accounts + 1, 1000000, 1000000, 0, 1000000, 1000000);
INSERT INTO settings (scope, key, value)
SELECT 'user:' || n, 'preferences', jsonb_build_object('theme', 'dark', 'lots', 0.1) FROM generate_series(1, :accounts) AS n;
INSERT INTO settings (scope, key, value) VALUES ('platform', 'leverage', '30'), ('platform', 'commission_per_lot', '3.50');
INSERT INTO audit_log (at, actor, action, subject)
SELECT timestamptz ':start' + n * interval '14 days' / (:accounts * 10), 'trader' || lpad((n % :accounts + 1)::text, 5, '0'),
    'login', (n % :accounts + 1)::text
FROM generate_series(1, :accounts * 10) AS n;
--- done
DROP VIEW seed_plan;
INSERT INTO settings (scope, key, value) VALUES ('lab', ':marker', '{"orders": :orders}');
ANALYZE;
