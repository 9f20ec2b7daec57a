{#-
    Selects the candidates of each id by its best rule, the one with the lowest rule_rank: how many there are
    (candidate_count) and the first of them.

    candidates: CTE with the id, the match and the rule_rank of the rule by which they match.
-#}
{% macro best_matches(candidates, id, match) %}
    select
        {{ candidates }}.{{ id }},
        {{ candidates }}.rule_rank,
        count(*) as candidate_count,
        min({{ candidates }}.{{ match }}) as {{ match }}
    from {{ candidates }}
    inner join (
        select
            {{ id }},
            min(rule_rank) as rule_rank
        from {{ candidates }}
        group by {{ id }}
    ) as best_rules
        on {{ candidates }}.{{ id }} = best_rules.{{ id }} and {{ candidates }}.rule_rank = best_rules.rule_rank
    group by {{ candidates }}.{{ id }}, {{ candidates }}.rule_rank
{%- endmacro %}
