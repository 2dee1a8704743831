-- A run processes one term, `dbt build --vars '{term: 118}'`, or without the variable all of them. The rows of the term
-- are replaced in the transaction that inserts the new ones, so that a term that has become empty loses its rows, too.

{% macro in_term(column) %}
{%- if var('term', none) is not none %}{{ column }} = {{ var('term') | int }}{% else %}true{% endif -%}
{% endmacro %}

{% macro clear_term() %}
{%- if is_incremental() %}delete from {{ this }} where {{ in_term('canvas_term_id') }}{% endif -%}
{% endmacro %}
