-- A report that waits for an execution is of an order that is here, and the execution that it names is not.
select r.user_id, r.inbox_id, r.order_id, r.ref_exec_id,
       case when o.order_id is null then 'of an order that is not there' else 'its execution is here' end as problem
  from brokerage.early_reports r
  left join brokerage.orders o on o.user_id = r.user_id and o.order_id = r.order_id
 where o.order_id is null
    or exists (select from brokerage.all_executions x
                where x.user_id = r.user_id and x.order_id = r.order_id and x.venue = r.venue and x.session = r.session
                  and x.exec_id = r.ref_exec_id and x.trade_date <= r.trade_date)
