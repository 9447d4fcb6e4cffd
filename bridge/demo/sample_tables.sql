-- The tables of a maintenance system, after the field names of Fracttal's public API. No public schema of its
-- database exists: these are our declared assumption, and everything works for other tables by configuration.

CREATE TABLE work_orders (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    wo_folio text NOT NULL,
    id_status_work_order integer NOT NULL DEFAULT 1, -- 1 in process, 2 in review, 3 closed, 4 cancelled
    creation_date timestamptz NOT NULL DEFAULT now(),
    initial_date timestamptz,
    final_date timestamptz,
    duration integer,
    completed_percentage numeric(5, 2) NOT NULL DEFAULT 0,
    created_by text,
    code text,
    items_log_description text,
    description text,
    note text,
    tasks_log_task_type_main text,
    costs_center_description text,
    id_priorities integer,
    id_request bigint,
    personnel_description text
);
CREATE TABLE work_order_resources (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    id_work_order bigint NOT NULL,
    type integer NOT NULL, -- 1 inventory, 2 human, 3 service
    code_resource text,
    code_warehouse text,
    qty numeric(18, 4),
    unit_cost numeric(18, 4),
    total_cost numeric(18, 4),
    units_code text
);
CREATE TABLE work_requests (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    code text,
    user_code text,
    description text,
    observation text,
    date_incident timestamptz,
    requested_by text,
    is_urgent text -- the string "true", as seen in the wild
);
CREATE TABLE items (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    code text NOT NULL,
    description text,
    field_1 text,
    field_2 text,
    field_3 text,
    field_4 text,
    field_5 text,
    field_6 text,
    active boolean NOT NULL DEFAULT true
);
CREATE TABLE inventories (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    code text NOT NULL,
    code_warehouse text NOT NULL,
    stock numeric(18, 4) NOT NULL DEFAULT 0,
    min_stock_level numeric(18, 4),
    max_stock_level numeric(18, 4),
    reorder_level numeric(18, 4),
    unit_cost_stock numeric(18, 4)
);
CREATE TABLE material_requests (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    warehouse_code text,
    folio_target text,
    date_delivery date,
    document text,
    note text,
    state integer,
    id_priority integer,
    id_cost_center bigint
);
CREATE TABLE purchase_orders (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    document text,
    code_third_party text,
    value_cost_center text,
    date date,
    id_priority integer,
    lines jsonb NOT NULL DEFAULT '[]'
);
CREATE TABLE third_parties (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    address text,
    city text,
    country text,
    telephone_1 text,
    email text,
    id_third_party_type integer[], -- 1 service, 2 manufacturer, 3 supplier, 4 client
    custom_fields_values jsonb
);
CREATE TABLE meters (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    serial text,
    item_code text,
    is_counter boolean NOT NULL DEFAULT false,
    units_code text
);
CREATE TABLE meter_readings (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    id_meter bigint NOT NULL,
    date timestamptz NOT NULL,
    value numeric(18, 4) NOT NULL,
    accumulated_value numeric(18, 4)
);

-- The documented pattern: an identity that carries the tenant and the status that mappings compare, without FULL.
CREATE UNIQUE INDEX work_orders_identity ON work_orders (id, id_company, id_status_work_order);
ALTER TABLE work_orders REPLICA IDENTITY USING INDEX work_orders_identity;
CREATE UNIQUE INDEX work_requests_identity ON work_requests (id, id_company);
ALTER TABLE work_requests REPLICA IDENTITY USING INDEX work_requests_identity;
CREATE UNIQUE INDEX third_parties_identity ON third_parties (id, id_company);
ALTER TABLE third_parties REPLICA IDENTITY USING INDEX third_parties_identity;

-- What the demo judges by: every committed change in the order of its row, written by the database itself.
CREATE SCHEMA demo;
CREATE TABLE demo.history (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    table_name text NOT NULL,
    op text NOT NULL,
    old jsonb,
    new jsonb
);
CREATE FUNCTION demo.record_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO demo.history (table_name, op, old, new)
    VALUES (TG_TABLE_NAME, lower(TG_OP), to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END
$$;
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON work_orders
FOR EACH ROW EXECUTE FUNCTION demo.record_change();
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON work_requests
FOR EACH ROW EXECUTE FUNCTION demo.record_change();
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON third_parties
FOR EACH ROW EXECUTE FUNCTION demo.record_change();
