"""SQL as people write it, with the databases that take it."""

POSTGRESQL, SQLITE, DUCKDB = "postgres", "sqlite", "duckdb"
EVERY = (POSTGRESQL, SQLITE, DUCKDB)

STATEMENTS: list[tuple[tuple[str, ...], str]] = [
    (
        EVERY,
        "create table out as with c as (select * from customers) select c.email as contact, o.amount from c join orders o on o.customer_id = c.id",
    ),
    (EVERY, "create table out as select * from customers"),
    (
        EVERY,
        "create table out as select c.*, o.amount from customers c left join orders o on o.customer_id=c.id",
    ),
    (EVERY, "insert into mart select email, id, name from customers"),
    (EVERY, "insert into mart (spent, contact) select id, email from customers"),
    (
        EVERY,
        "insert into mart (spent, contact) select amount, email from customers join orders on id = customer_id where city = 'Rome'",
    ),
    (EVERY, "insert into mart values ('x', 1, 'y')"),
    (
        EVERY,
        "insert into mart select email, (select sum(amount) from orders o where o.customer_id = c.id), city from customers c",
    ),
    (EVERY, "create table out as select email from customers union all select note from orders"),
    (
        EVERY,
        "create table out as select email, city from customers union select note, note from orders",
    ),
    (EVERY, "create table out as select email from customers except select contact from mart"),
    (EVERY, "create table out as select email from customers intersect select contact from mart"),
    (EVERY, "create view out as select email, upper(name) as n from customers"),
    (EVERY, "create view out (a, b) as select name, email from customers"),
    (
        EVERY,
        "create view v1 as select email as e, id from customers; create table out as select e, amount from v1 join orders on customer_id = v1.id",
    ),
    (
        EVERY,
        "create temporary table t1 as select email, id from customers; insert into mart (contact, spent) select email, id from t1; drop table t1",
    ),
    (
        EVERY,
        "create table stage as select email e, city from customers; create table out as select e from stage where city <> 'x'; drop table stage",
    ),
    (
        EVERY,
        "create table out_new as select email, name from customers; alter table out_new rename to out",
    ),
    (
        EVERY,
        "create table out as select email, name from customers; alter table out rename column email to mail",
    ),
    (
        (POSTGRESQL,),
        "drop table mart; create table mart_new as select name as contact, id as spent, email as extra from customers; alter table mart_new rename to mart",
    ),
    (EVERY, "update mart set extra = contact"),
    (
        EVERY,
        "update mart set extra = (select max(name) from customers c where c.email = mart.contact)",
    ),
    (
        EVERY,
        "update mart set spent = o.amount, extra = c.city from customers c join orders o on o.customer_id=c.id where c.email = mart.contact",
    ),
    (
        (POSTGRESQL,),
        "update mart m set (spent, extra) = (select c.id, c.name from customers c where c.email = m.contact)",
    ),
    (EVERY, "delete from mart where contact in (select email from customers)"),
    (
        (POSTGRESQL,),
        "delete from mart using customers c where c.email = mart.contact and c.city = 'Oslo'",
    ),
    (
        EVERY,
        "insert into mart (contact, spent) select email, id from customers where true on conflict (contact) do update set extra = excluded.contact, spent = mart.spent + 1",
    ),
    (
        (POSTGRESQL,),
        "merge into mart m using (select email, id, name from customers) s on m.contact = s.email when matched then update set extra = s.name when not matched then insert (contact, spent) values (s.email, s.id)",
    ),
    (
        EVERY,
        "create table out as with recursive r as (select id, email, boss from customers where boss is null union all select c.id, c.email, c.boss from customers c join r on c.boss = r.id) select id, email from r",
    ),
    (
        EVERY,
        "create table out as select customers.email from customers customers join orders on orders.customer_id = customers.id",
    ),
    (EVERY, "create table out as select orders.email from customers orders"),
    (
        EVERY,
        "create table out as with orders as (select email as note, id from customers) select note from orders",
    ),
    (EVERY, "CREATE TABLE Out AS SELECT EMAIL AS Contact, Name FROM Customers"),
    ((POSTGRESQL,), 'create table "Out" as select email as "Contact" from customers'),
    ((POSTGRESQL,), "create table out as select c as whole from customers c"),
    ((POSTGRESQL,), "create table out as select row_to_json(c)::text as j from customers c"),
    (
        (POSTGRESQL,),
        "create table out as select id, t as tag from customers, unnest(string_to_array(tags, ',')) as t",
    ),
    (
        (POSTGRESQL,),
        "create table out as select id, u.tag from customers cross join lateral unnest(string_to_array(tags, ',')) as u(tag)",
    ),
    (
        (DUCKDB,),
        "create table out as select id, unnest(string_split(tags, ',')) as tag from customers",
    ),
    (
        (
            POSTGRESQL,
            DUCKDB,
        ),
        "create table out as select l.x from customers c cross join lateral (select c.email as x, o.amount from orders o where o.customer_id=c.id) l",
    ),
    (EVERY, "create table out as select distinct city from customers"),
    (
        (POSTGRESQL,),
        "create table out as select distinct on (city) city, email from customers order by city, id desc",
    ),
    (
        EVERY,
        "create table out as select city, count(*) as n from customers group by city having max(boss) > 0",
    ),
    (
        EVERY,
        "create table out as select city, count(*) as n, max(email) as m from customers group by 1",
    ),
    (
        EVERY,
        "create table out as select email, row_number() over (partition by city order by name) as rn from customers",
    ),
    (EVERY, "create table out as select email from customers order by id limit 2"),
    (
        EVERY,
        "create table out as select email from customers where exists (select 1 from orders where customer_id = id and note <> 'n1')",
    ),
    (
        EVERY,
        "create table out as select email from customers where id not in (select customer_id from orders)",
    ),
    (
        EVERY,
        "create table out as select case when city = 'Rome' then email else name end as x from customers",
    ),
    (
        EVERY,
        "create table out as select coalesce(c.email, v.place) as x from customers c left join visits v on v.cid = c.id",
    ),
    (
        EVERY,
        "create table out as select email, (select count(*) from visits where cid = c.id) as n from customers c",
    ),
    (
        EVERY,
        "create table out as select a.email as one, b.email as two from customers a join customers b on b.boss = a.id",
    ),
    (
        EVERY,
        "create table out as select id, email from customers join (select customer_id as id, amount from orders) o using (id)",
    ),
    (
        EVERY,
        "create table out as select * from customers join (select customer_id as id, amount from orders) o using (id)",
    ),
    (
        EVERY,
        "create table out as select * from customers natural join (select customer_id as id, amount from orders) o",
    ),
    ((POSTGRESQL,), "create table out (a, b) as select email, name from customers"),
    (EVERY, "create table out (a text, b text); insert into out select email, name from customers"),
    (
        EVERY,
        "create table out (a text, b text); insert into out (b, a) select email, name from customers",
    ),
    (
        EVERY,
        "insert into mart (contact, extra) select name, city from customers union all select note, note from orders",
    ),
    (
        (
            POSTGRESQL,
            DUCKDB,
        ),
        "create table out as select * from (values (1,'x')) v(a,b)",
    ),
    (
        EVERY,
        "create table out as select x.m from (select max(email) as m, city from customers group by city) x where x.city = 'Rome'",
    ),
    (
        EVERY,
        "create table out as with a as (select email, id from customers), b as (select a.email, o.amount from a join orders o on o.customer_id = a.id), c as (select email, sum(amount) s from b group by email) select email, s from c where s > 3",
    ),
    (
        EVERY,
        "create table out as with a(x, y) as (select email, city from customers) select y as x, x as y from a",
    ),
    (EVERY, "create table out as select email as name, name as email from customers"),
    (EVERY, "insert into mart select contact || 'k', spent, extra from mart"),
    ((DUCKDB,), "create table out as select * exclude (email) from customers"),
    ((DUCKDB,), "create table out as select * replace (upper(email) as email) from customers"),
    ((DUCKDB,), "insert into mart by name select id as spent, email as contact from customers"),
    ((DUCKDB,), "create table out as from customers select email"),
    (
        (DUCKDB,),
        "create table out as select email, name from customers union all by name select note as name, note as email from orders",
    ),
    ((POSTGRESQL,), "select email, id into out from customers"),
    (
        (POSTGRESQL,),
        "with src as (select email, id from customers) insert into mart (contact, spent) select email, id from src",
    ),
    ((POSTGRESQL,), "create table out as select email from only customers"),
    ((POSTGRESQL,), "create table out as table customers"),
    ((POSTGRESQL,), "create view out as select email from customers"),
    (EVERY, "create table out as select substr(email, 1, 2) || city as k, 1 as one from customers"),
    (
        EVERY,
        "create table out as select sum(o.amount) filter (where c.city = 'Rome') as s from customers c join orders o on o.customer_id=c.id",
    ),
    (
        (
            POSTGRESQL,
            DUCKDB,
        ),
        "create table out as select string_agg(email, ',' order by name) as s from customers",
    ),
    (
        (POSTGRESQL,),
        "create table out as select array_agg(email order by id)::text as s from customers",
    ),
    (
        EVERY,
        "create table out as select c.email from (customers c join orders o on o.customer_id = c.id) join visits v on v.cid = c.id",
    ),
    (
        EVERY,
        "create table out as select email from customers, orders where customer_id = customers.id and amount > 4",
    ),
    (EVERY, "create table out as select t.email from (select * from customers) t"),
    (
        EVERY,
        "create table out as select t.* from (select email, c.id from customers c, visits where cid = c.id) t",
    ),
    (
        EVERY,
        "create table a1 as select email from customers; create table b1 as select email as m from a1; create table out as select m from b1; drop table a1; drop table b1",
    ),
    (
        (
            SQLITE,
            POSTGRESQL,
        ),
        "create temporary view tv as select email, city from customers; create table out as select * from tv",
    ),
    ((POSTGRESQL,), "truncate mart; insert into mart select email, id, name from customers"),
    (EVERY, "delete from mart; insert into mart select name, id, email from customers"),
    (
        (POSTGRESQL,),
        "insert into mart (contact, spent) select email, id from customers returning contact",
    ),
    (
        EVERY,
        "create table out as select email from customers where city = (select max(city) from customers)",
    ),
    (EVERY, "create table out as select max(email) over () as m, id from customers"),
    (
        (
            POSTGRESQL,
            DUCKDB,
        ),
        "create table out as select email from customers where city = any (select place from visits)",
    ),
    (
        EVERY,
        "create table out as select min(email) as lo, max(name) as hi from customers group by city order by 1",
    ),
    (
        EVERY,
        "create table out as select c.email, o.note from customers c left join orders o on o.customer_id=c.id and o.amount > 5",
    ),
    (EVERY, "create table out as select nullif(email, name) as x from customers"),
    (EVERY, "create table out as select cast(id as text) as x, email as y from customers"),
    (
        (
            POSTGRESQL,
            DUCKDB,
        ),
        "create table out as select c.email from customers c full join mart m on m.contact = c.email",
    ),
    (
        (DUCKDB,),
        "create table out as select email from customers semi join orders on customer_id = customers.id",
    ),
    (
        (DUCKDB,),
        "create table out as select email from customers anti join orders on customer_id = customers.id",
    ),
    ((DUCKDB,), "create table out as select {'e': email, 'n': name} as s from customers"),
    (
        (DUCKDB,),
        "create table out as with x as (select {'e': email, 'n': name} as s from customers) select s.e as mail from x",
    ),
    (
        (DUCKDB,),
        "create table out as select list_transform(string_split(tags, ','), lambda x: upper(x)) as s from customers",
    ),
    (
        (DUCKDB,),
        "create table out as select email from customers qualify row_number() over (partition by city order by id) = 1",
    ),
    ((DUCKDB,), "create or replace table out as select email from customers"),
    ((SQLITE,), "insert or replace into mart select email, id, name from customers"),
    ((SQLITE,), "replace into mart select email, id, name from customers"),
    ((SQLITE,), "create table if not exists out as select email from customers"),
    ((SQLITE,), "create table out as select json_group_array(email) as j from customers"),
    (
        (SQLITE,),
        "create table out as select e.value as tag from customers, json_each('[\"' || tags || '\"]') e",
    ),
    ((SQLITE,), "create table out as select email, rowid as r from customers"),
    (
        (POSTGRESQL,),
        "alter table mart rename column extra to other; update mart set other = contact",
    ),
    ((POSTGRESQL,), "alter table mart rename column extra to other"),
    (
        (POSTGRESQL,),
        "create table out as select email, name from customers; alter table out add column k int; update out set k = length(name)",
    ),
    (
        EVERY,
        "create table t_a as select id, email from customers; create table out as select email from t_a union all select contact from mart; drop table t_a",
    ),
    # What an attack on the follower found.
    (
        EVERY,
        "create table a1 as select email, city from customers; update a1 set email = city; create table out as select email from a1; drop table a1",
    ),
    (
        EVERY,
        "create table a1 as select email, city from customers; delete from a1 where city = 'Rome'; create table out as select email from a1; drop table a1",
    ),
    (
        (POSTGRESQL, DUCKDB),
        "create table out as select email, sum(id) over w as s from customers window w as (partition by city order by id)",
    ),
    (
        (POSTGRESQL,),
        "insert into mart as m (contact, spent) select email, id from customers on conflict (contact) do update set spent = m.spent + excluded.spent where m.extra <> 'k'",
    ),
    ((POSTGRESQL,), "create table out as select (c).email as e from customers c"),
    ((DUCKDB,), "create table out as select email.upper() as u from customers"),
    (EVERY, "update mart set contact = extra, extra = contact"),
    (
        EVERY,
        "create table out as select (select name from customers b where b.id = a.boss) as bossname from customers a",
    ),
    # What decides how many rows there are, and which; what is worked out; what a variable was set to.
    (
        EVERY,
        "create table out as select note from orders limit (select count(*) from customers where email < 'b')",
    ),
    ((DUCKDB,), "create table out as select * from customers order by all limit 2"),
    ((SQLITE,), "create table out as select max(id) as top, email from customers"),
    (
        (SQLITE, DUCKDB),
        "create table out (email text, n text generated always as (upper(email))); insert into out (email) select email from customers",
    ),
    (
        (DUCKDB,),
        "set variable x = (select max(email) from customers); create table out as select getvariable('x') as v, note from orders",
    ),
]
