-- Fifteen columns, and in each transaction one change of one row: about 345 bytes of pgoutput.
CREATE TABLE work_orders (
    id bigint PRIMARY KEY,
    id_company text NOT NULL,
    wo_folio text NOT NULL,
    id_status_work_order integer NOT NULL,
    creation_date timestamptz NOT NULL,
    initial_date timestamptz,
    final_date timestamptz,
    duration integer,
    completed_percentage numeric(5, 2) NOT NULL,
    total_cost numeric(18, 4),
    is_urgent boolean NOT NULL,
    created_by text,
    description text,
    note text,
    costs_center_description text
);

CREATE PROCEDURE change_work_orders(changes integer) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1..changes LOOP
        IF n % 2 = 1 THEN
            INSERT INTO work_orders VALUES (
                n, (4700 + n % 20)::text, 'WO-' || n, 1, clock_timestamp(), clock_timestamp(), NULL, 3600,
                0.00, 1273.1000, n % 7 = 0, 'planner.' || n % 50,
                'Replace the bearing of conveyor ' || n || ' and check its alignment afterwards',
                'Needs two persons and the small crane', 'Plant ' || n % 9 || ', conveyors'
            );
        ELSE
            UPDATE work_orders
            SET id_status_work_order = 3, final_date = clock_timestamp(), completed_percentage = 100.00
            WHERE id = n - 1;
        END IF;
        COMMIT;
    END LOOP;
END
$$;
