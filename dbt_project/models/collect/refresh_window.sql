-- One row: what this run answers for. Every model reads what landed before to_xid, and nothing else.
select
    {{ landing_horizon() }} as to_xid,
    {{ landing_system() }} as system_identifier,
    {{ as_of() }} as as_of
