-- Articles by the number sold, most first.
select article, sum(count) as sold
from sales
group by article
order by sold desc, article
limit :limit;
