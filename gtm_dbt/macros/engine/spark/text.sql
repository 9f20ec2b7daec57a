{#- An object alone is read as a list of one, which it is not. -#}
{% macro spark__field_options(fields) -%}
    select
        listed.field_key,
        listed.field_option.id as option_id,
        min(listed.field_option.label) as option_label
    from (
        select
            fields.field_key,
            explode(
                case
                    when trim(fields.field_value_options) like '[%'
                        then from_json(fields.field_value_options, 'array<struct<id:string,label:string>>')
                end
            ) as field_option
        from {{ fields }} as fields
    ) as listed
    where listed.field_option.id is not null
    group by listed.field_key, listed.field_option.id
{%- endmacro %}


{% macro spark__joined(text, separator, order_by) -%}
    listagg({{ text }}, '{{ separator }}') within group (order by {{ order_by }})
{%- endmacro %}


{#- Spark does not take letters apart: those with marks are listed. -#}
{% macro spark__normalised_text(text) -%}
    {%- set marked, plain = letters_with_marks() -%}
    nullif(
        trim(regexp_replace(
            regexp_replace(
                replace(
                    translate(
                        lower({{ text }}),
                        '{{ marked }}',
                        '{{ plain }}'
                    ),
                    '&', ' and '
                ),
                r"[\p{M}.'’]", ''
            ),
            r'[^\p{L}\p{N}]+', ' '
        )),
        ''
    )
{%- endmacro %}


{#- Small letters with marks, such as accents, and the letters without, by Unicode's canonical decomposition. -#}
{% macro letters_with_marks() %}
    {%- do return([
        'àáâãäåçèéêëìíîïñòóôõöùúûüýÿāăąćĉċčďēĕėęěĝğġģĥĩīĭįĵķĺļľńņňōŏőŕŗřśŝşšţťũūŭůűųŵŷźżžơưǎǐǒǔǖǘǚǜ' ~
        'ǟǡǣǧǩǫǭǯǰǵǹǻǽǿȁȃȅȇȉȋȍȏȑȓȕȗșțȟȧȩȫȭȯȱȳʹΐάέήίΰϊϋόύώϓϔйѐёѓїќѝўѷӂӑӓӗӛӝӟӣӥӧӫӭӯӱӳӵӹآأؤإئۀۂۓऩऱऴक़ख़ग़' ~
        'ज़ड़ढ़फ़य़ড়ঢ়য়ਲ਼ਸ਼ਖ਼ਗ਼ਜ਼ਫ਼ଡ଼ଢ଼ஔགྷཌྷདྷབྷཛྷཀྵဦᬆᬈᬊᬌᬎᬒḁḃḅḇḉḋḍḏḑḓḕḗḙḛḝḟḡḣḥḧḩḫḭḯḱḳḵḷḹḻḽḿṁṃṅṇṉṋṍṏṑṓṕṗṙṛṝṟṡṣṥṧṩṫṭṯṱṳṵṷ' ~
        'ṹṻṽṿẁẃẅẇẉẋẍẏẑẓẕẖẗẘẙẛạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹἀἁἂἃἄἅἆἇἐἑἒἓἔἕἠἡἢἣἤἥἦἧἰἱἲ' ~
        'ἳἴἵἶἷὀὁὂὃὄὅὐὑὒὓὔὕὖὗὠὡὢὣὤὥὦὧὰάὲέὴήὶίὸόὺύὼώᾀᾁᾂᾃᾄᾅᾆᾇᾐᾑᾒᾓᾔᾕᾖᾗᾠᾡᾢᾣᾤᾥᾦᾧᾰᾱᾲᾳᾴᾶᾷιῂῃῄῆῇῐῑῒΐῖῗῠῡῢΰῤῥ' ~
        'ῦῧῲῳῴῶῷがぎぐげござじずぜぞだぢづでどばぱびぴぶぷべぺぼぽゔゞガギグゲゴザジズゼゾダヂヅデドバパビピブプベペボポヴヷヸヹヺヾ',
        'aaaaaaceeeeiiiinooooouuuuyyaaaccccdeeeeegggghiiiijklllnnnooorrrssssttuuuuuuwyzzzouaiouuuuu' ~
        'aaægkooʒjgnaæøaaeeiioorruusthaeooooyʹιαεηιυιυουωϒϒиеегікиуѵжааеәжзииоөэууучыااوايەہےनरळकखग' ~
        'जडढफयডঢযਲਸਖਗਜਫଡଢஒགཌདབཛཀဥᬅᬇᬉᬋᬍᬑabbbcdddddeeeeefghhhhhiikkkllllmmmnnnnoooopprrrrsssssttttuuu' ~
        'uuvvwwwwwxxyzzzhtwyſaaaaaaaaaaaaeeeeeeeeiioooooooooooouuuuuuuyyyyααααααααεεεεεεηηηηηηηηιιι' ~
        'ιιιιιοοοοοουυυυυυυυωωωωωωωωααεεηηιιοουυωωααααααααηηηηηηηηωωωωωωωωαααααααιηηηηηιιιιιιυυυυρρ' ~
        'υυωωωωωかきくけこさしすせそたちつてとははひひふふへへほほうゝカキクケコサシスセソタチツテトハハヒヒフフヘヘホホウワヰヱヲヽ'
    ]) -%}
{% endmacro %}


{% macro spark__company_domain(address) -%}
    nullif(
        regexp_replace(
            regexp_extract(
                lower(trim({{ address }})), r'^(?:[a-z]+://)?(?:[^@/]*@)?(?:www[.])?([^/:?#\s]+[.][^/:?#\s]+)', 1
            ),
            '^({{ var("free_email_domains") | join("|") | replace(".", "[.]") }})$',
            ''
        ),
        ''
    )
{%- endmacro %}


{% macro spark__whole_number(text) -%}
    try_cast(nullif(regexp_extract({{ text }}, r'^\s*([0-9]+)([.]0*)?\s*$', 1), '') as bigint)
{%- endmacro %}


{% macro spark__decimal_number(text) -%}
    try_cast({{ text }} as {{ amount_type() }})
{%- endmacro %}


{% macro spark__written_date(text) -%}
    try_cast(left(trim({{ text }}), 10) as date)
{%- endmacro %}
