//! The demo's shop: its tables, its rows, and what Postgres itself says each document should be.
//!
//! The expected documents are rendered by SQL alone, with none of the engine's code, so that comparing them with the
//! index proves something.

/// Creates the tables. `manual` is long enough to be stored out of line: an update that leaves it alone does not
/// carry it in the WAL.
pub(super) const TABLES: &str = "
CREATE TABLE products (
    id bigint PRIMARY KEY,
    sku text NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    manual text,
    category text NOT NULL,
    brand text,
    price numeric(10,2) NOT NULL,
    in_stock boolean NOT NULL,
    quantity integer NOT NULL,
    rating real,
    tags text[] NOT NULL,
    attributes jsonb NOT NULL,
    updated_at timestamptz NOT NULL
);
ALTER TABLE products ALTER COLUMN manual SET STORAGE EXTERNAL;
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    customer text NOT NULL,
    product_id bigint NOT NULL,
    quantity integer NOT NULL,
    total numeric(12,2) NOT NULL,
    paid boolean NOT NULL,
    ordered_at timestamptz NOT NULL
);
CREATE SEQUENCE product_ids;
CREATE SEQUENCE order_ids;";

/// A product from a number: used for the first rows and for those that are inserted live.
/// `$rows` is replaced by a query that yields the column `n`.
const PRODUCT: &str = "
INSERT INTO products
SELECT n,
    'SKU-' || lpad(n::text, 8, '0'),
    size || ' ' || material || ' ' || thing,
    'A ' || lower(size) || ' ' || lower(thing) || ' made of ' || lower(material) || ', in ' || colour
        || '. ' || care || ' “' || brand || '” stands behind it for ' || (1 + n % 9) || ' years.',
    CASE WHEN n % 97 = 0 THEN repeat('Step ' || n || ': read this manual with care before you switch the thing on. ', 60) END,
    category,
    CASE WHEN n % 11 <> 0 THEN brand END,
    ((n * 7919) % 100000) / 100.0 + 0.99,
    (n * 31) % 10 <> 0,
    (n * 17) % 250,
    CASE WHEN n % 7 <> 0 THEN 1 + (n * 13 % 41) / 10.0 END,
    ARRAY[lower(material), colour, category] || CASE WHEN n % 5 = 0 THEN ARRAY['new'] ELSE '{}' END,
    jsonb_build_object('weight_g', 50 + n * 37 % 9000, 'colour', colour, 'dimensions', jsonb_build_array(n % 120, n % 90, n % 40)),
    timestamptz '2026-01-01 00:00:00+00' + make_interval(secs => n * 61 % 20000000 + (n % 1000) / 1000.0)
FROM ($rows) AS numbers,
LATERAL (SELECT
    (ARRAY['Small', 'Large', 'Folding', 'Light', 'Sturdy', 'Compact', 'Round', 'Tall'])[1 + n % 8] AS size,
    (ARRAY['Oak', 'Steel', 'Wool', 'Glass', 'Bamboo', 'Leather', 'Ceramic', 'Cotton', 'Copper', 'Linen', 'Walnut'])[1 + n % 11] AS material,
    (ARRAY['Desk Lamp', 'Chair', 'Blanket', 'Vase', 'Backpack', 'Teapot', 'Bookshelf', 'Mug', 'Clock', 'Cushion', 'Mirror', 'Basket', 'Frying Pan'])[1 + n % 13] AS thing,
    (ARRAY['red', 'blue', 'green', 'natural', 'black', 'white', 'crème'])[1 + n % 7] AS colour,
    (ARRAY['Wipe it with a dry cloth.', 'Safe in the dishwasher.', 'Wash by hand.', 'Needs no care at all.', E'Keep away from\\nopen fire.'])[1 + n % 5] AS care,
    (ARRAY['Nordwind', 'Casa & Co', 'Müller', 'Atelier \"Sept\"', 'Kiku 菊', 'Fjell'])[1 + n % 6] AS brand,
    (ARRAY['living', 'kitchen', 'office', 'travel', 'bath'])[1 + n % 5] AS category) AS words";

/// The first rows: `count` products, a tenth as many orders.
pub(super) fn fill(count: u64) -> String {
    let products = PRODUCT.replace("$rows", &format!("SELECT generate_series(1, {count}) AS n"));
    format!(
        "{products};
INSERT INTO orders
SELECT n, 'customer ' || n * 31 % 5000, 1 + n * 7 % greatest({count}, 1), 1 + n % 5, n * 7919 % 90000 / 100.0, n % 3 <> 0,
    timestamptz '2026-06-01 00:00:00+00' + make_interval(secs => n * 17)
FROM generate_series(1, {count} / 10) AS n;
SELECT setval('product_ids', {count} + 1), setval('order_ids', {count} / 10 + 1);
ANALYZE products, orders;"
    )
}

/// Inserts one more product.
pub(super) fn insert_product() -> String {
    PRODUCT.replace("$rows", "SELECT nextval('product_ids') AS n")
}

/// An index of the demo and the query that gives (`_id`, document as JSON text) of each row that belongs there.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) index: &'static str,
    /// Ends before a WHERE: `WHERE … AND id = ANY($1)` may follow.
    pub(super) documents: &'static str,
    pub(super) filter: &'static str,
}

/// What is right, in Postgres' own words.
pub(super) const EXPECTED: [Expected; 2] = [
    Expected {
        index: "products",
        documents: "SELECT id::text, json_build_object('name', name, 'description', description, 'manual', manual,
            'category', category, 'brand', brand, 'price', price, 'in_stock', in_stock, 'rating', rating, 'tags', tags,
            'attributes', attributes, 'updated_at',
            rtrim(rtrim(to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '0'), '.') || 'Z')::text
            FROM products",
        filter: "in_stock = true",
    },
    Expected {
        index: "orders",
        documents: "SELECT id::text, json_build_object('id', id, 'customer', customer, 'product_id', product_id,
            'quantity', quantity, 'total', total, 'paid', paid, 'ordered_at',
            rtrim(rtrim(to_char(ordered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '0'), '.') || 'Z')::text
            FROM orders",
        filter: "true",
    },
];

/// Where the engine gets the server's API key from, so that it stands in no file.
pub(super) const KEY_VARIABLE: &str = "TIDEMILL_API_KEY";

/// The configuration's part about the server.
pub(super) fn sink(url: &str, has_key: bool) -> String {
    let auth = if has_key { format!("\n  auth: {{ api_key: \"${{{KEY_VARIABLE}}}\" }}") } else { String::new() };
    format!("sink:\n  url: {url}{auth}")
}

/// The configuration that the demo runs with, and that a user could keep.
pub(super) fn configuration(source_url: &str, sink: &str) -> String {
    format!(
        "# The demo's configuration: `tidemill run --config tidemill.yaml` runs the same.
source:
  url: {source_url}
  slot: tidemill
  publication: tidemill
{sink}
streams:
  - name: products
    from: public.products
    where: in_stock = true      # first stage: the shipped component `where`
    columns: [name, description, manual, category, brand, price, in_stock, rating, tags, attributes, updated_at]   # last: `select`
    index: products
  - name: orders
    from: public.orders
    index: orders
state: tidemill.db
"
    )
}
