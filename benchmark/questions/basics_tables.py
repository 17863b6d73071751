"""Facts that the dataset ``basics`` asks for; several accepted answers are separated by ``|``."""


def _table(rows: str) -> dict[str, tuple[str, ...]]:
    """Return key -> accepted answers of rows ``key: answer|answer; key: answer``."""
    pairs = (row.split(":") for row in rows.split(";"))
    return {" ".join(key.split()): tuple(answers.strip().split("|")) for key, answers in pairs}


CAPITALS = _table("""
Afghanistan: Kabul; Albania: Tirana; Algeria: Algiers; Angola: Luanda; Argentina: Buenos Aires;
Armenia: Yerevan; Australia: Canberra; Austria: Vienna|Wien; Azerbaijan: Baku; Bahrain: Manama;
Bangladesh: Dhaka|Dacca; Barbados: Bridgetown; Belarus: Minsk; Belgium: Brussels;
Bhutan: Thimphu; Bosnia and Herzegovina: Sarajevo; Botswana: Gaborone;
Brazil: Brasília; Bulgaria: Sofia; Cambodia: Phnom Penh; Cameroon: Yaoundé; Canada: Ottawa;
Chad: N'Djamena; Chile: Santiago; China: Beijing|Peking; Colombia: Bogotá;
Costa Rica: San José; Croatia: Zagreb; Cuba: Havana|La Habana; Cyprus: Nicosia;
the Czech Republic: Prague|Praha; Denmark: Copenhagen; the Dominican Republic: Santo Domingo;
Ecuador: Quito; Egypt: Cairo; Eritrea: Asmara; Estonia: Tallinn; Ethiopia: Addis Ababa; Fiji: Suva;
Finland: Helsinki; France: Paris; Georgia: Tbilisi; Germany: Berlin; Ghana: Accra; Greece: Athens;
Haiti: Port-au-Prince; Honduras: Tegucigalpa; Hungary: Budapest; Iceland: Reykjavik;
India: New Delhi|Delhi; Indonesia: Jakarta; Iran: Tehran; Iraq: Baghdad; Ireland: Dublin;
Italy: Rome|Roma; Jamaica: Kingston; Japan: Tokyo; Jordan: Amman; Kenya: Nairobi; Latvia: Riga;
Lebanon: Beirut; Liberia: Monrovia; Libya: Tripoli; Lithuania: Vilnius; Madagascar: Antananarivo;
Malaysia: Kuala Lumpur; Mali: Bamako; Malta: Valletta; Mexico: Mexico City; Moldova: Chisinau;
Mongolia: Ulaanbaatar|Ulan Bator; Morocco: Rabat; Mozambique: Maputo; Namibia: Windhoek;
Nepal: Kathmandu; the Netherlands: Amsterdam; New Zealand: Wellington; Nicaragua: Managua;
Nigeria: Abuja; North Korea: Pyongyang; Norway: Oslo; Oman: Muscat; Pakistan: Islamabad;
Panama: Panama City; Paraguay: Asunción; Peru: Lima; the Philippines: Manila; Poland: Warsaw;
Portugal: Lisbon; Qatar: Doha; Romania: Bucharest; Russia: Moscow; Rwanda: Kigali;
Saudi Arabia: Riyadh; Senegal: Dakar; Serbia: Belgrade; Sierra Leone: Freetown;
Slovakia: Bratislava; Slovenia: Ljubljana; Somalia: Mogadishu; South Korea: Seoul; Spain: Madrid;
Sudan: Khartoum; Sweden: Stockholm; Switzerland: Bern|Berne; Syria: Damascus; Taiwan: Taipei;
Thailand: Bangkok; Tunisia: Tunis; Turkey: Ankara; Uganda: Kampala; Ukraine: Kyiv|Kiev;
the United Arab Emirates: Abu Dhabi; the United Kingdom: London;
the United States: Washington|Washington DC; Uruguay: Montevideo; Uzbekistan: Tashkent;
Venezuela: Caracas; Vietnam: Hanoi; Yemen: Sanaa|Sana'a; Zambia: Lusaka; Zimbabwe: Harare
""")

SYMBOLS = _table("""
hydrogen: H; helium: He; lithium: Li; beryllium: Be; boron: B; carbon: C; nitrogen: N; oxygen: O;
fluorine: F; neon: Ne; sodium: Na; magnesium: Mg; aluminum: Al; silicon: Si; phosphorus: P;
sulfur: S; chlorine: Cl; argon: Ar; potassium: K; calcium: Ca; scandium: Sc; titanium: Ti;
vanadium: V; chromium: Cr; manganese: Mn; iron: Fe; cobalt: Co; nickel: Ni; copper: Cu; zinc: Zn;
gallium: Ga; germanium: Ge; arsenic: As; selenium: Se; bromine: Br; krypton: Kr; rubidium: Rb;
strontium: Sr; yttrium: Y; zirconium: Zr; niobium: Nb; molybdenum: Mo; technetium: Tc;
ruthenium: Ru; rhodium: Rh; palladium: Pd; silver: Ag; cadmium: Cd; indium: In; tin: Sn;
antimony: Sb; tellurium: Te; iodine: I; xenon: Xe; cesium: Cs; barium: Ba; lanthanum: La;
cerium: Ce; praseodymium: Pr; neodymium: Nd; promethium: Pm; samarium: Sm; europium: Eu;
gadolinium: Gd; terbium: Tb; dysprosium: Dy; holmium: Ho; erbium: Er; thulium: Tm; ytterbium: Yb;
lutetium: Lu; hafnium: Hf; tantalum: Ta; tungsten: W; rhenium: Re; osmium: Os; iridium: Ir;
platinum: Pt; gold: Au; mercury: Hg; thallium: Tl; lead: Pb; bismuth: Bi; polonium: Po;
astatine: At; radon: Rn; francium: Fr; radium: Ra; actinium: Ac; thorium: Th; protactinium: Pa;
uranium: U
""")

PLURALS = _table("""
mouse: mice; child: children; leaf: leaves; city: cities; foot: feet; tooth: teeth; goose: geese;
man: men; woman: women; ox: oxen; louse: lice; knife: knives; wife: wives; life: lives;
wolf: wolves; half: halves; shelf: shelves; thief: thieves; loaf: loaves; calf: calves; elf: elves;
baby: babies; lady: ladies; story: stories; party: parties; country: countries; cherry: cherries;
berry: berries; fly: flies; spy: spies; sky: skies; army: armies; puppy: puppies; pony: ponies;
box: boxes; fox: foxes; bus: buses|busses; kiss: kisses; glass: glasses; class: classes;
dish: dishes; brush: brushes; church: churches; watch: watches; bench: benches; peach: peaches;
potato: potatoes; tomato: tomatoes; hero: heroes; echo: echoes; photo: photos; piano: pianos;
radio: radios; cactus: cacti|cactuses; fungus: fungi|funguses; nucleus: nuclei|nucleuses;
crisis: crises; analysis: analyses; thesis: theses; oasis: oases; basis: bases; axis: axes;
criterion: criteria|criterions; phenomenon: phenomena|phenomenons; bacterium: bacteria; datum: data;
stimulus: stimuli; alumnus: alumni; larva: larvae|larvas; person: people|persons; roof: roofs;
chef: chefs; key: keys; monkey: monkeys; toy: toys; quiz: quizzes; matrix: matrices|matrixes;
index: indices|indexes; appendix: appendices|appendixes; mouth: mouths; house: houses; eye: eyes
""")

OPPOSITES = _table("""
hot: cold|cool; big: small|little; early: late; rich: poor; open: closed|close|shut;
hard: soft|easy; high: low; fast: slow; happy: sad|unhappy; light: dark|heavy|darkness;
black: white; young: old; empty: full; strong: weak; wet: dry; true: false; right: left|wrong;
left: right; up: down; day: night; good: bad|evil; long: short; thick: thin; wide: narrow;
loud: quiet|silent|soft; clean: dirty; deep: shallow; near: far; love: hate|hatred; war: peace;
win: lose|loss; buy: sell; push: pull; begin: end|finish; first: last; inside: outside;
above: below|under|beneath; before: after; always: never; everything: nothing; cheap: expensive;
simple: complex|complicated|difficult; sweet: sour|bitter; smooth: rough; sharp: dull|blunt;
safe: dangerous|unsafe; brave: cowardly|afraid|timid; north: south; east: west; male: female;
arrive: leave|depart; forget: remember; accept: reject|refuse; success: failure; victory: defeat;
increase: decrease; maximum: minimum; positive: negative; internal: external; ancient: modern;
question: answer; friend: enemy|foe; heaven: hell; winter: summer; birth: death;
polite: rude|impolite; tight: loose; noisy: quiet|silent; generous: selfish|stingy|greedy;
guilty: innocent; alive: dead; asleep: awake; optimist: pessimist; wild: tame|domesticated;
raw: cooked; temporary: permanent; public: private; entrance: exit
""")

_WORDS = """
table cat house garden apple banana window river mountain flower pencil orange doctor school summer
winter music paper bridge castle dragon eagle forest guitar hammer island jacket kitchen ladder
market needle ocean pocket queen rabbit silver tiger umbrella village wagon yellow zebra bread
chair dance earth field grass heart juice knife lemon money north onion piano quiet robot sugar
train uncle voice water bottle camera dinner engine family glove honey insect jungle kettle letter
mirror number office planet quarter rocket shadow tunnel valley whistle anchor basket candle desert
elbow feather goat helmet ice jewel king lamp magnet nest oven parrot quilt ribbon snake teacher
uniform violin wheel yarn arrow button carrot diamond elephant fountain giant harbor ink judge kite
leather meadow napkin oyster pepper rainbow saddle ticket vacation wallet yogurt autumn blanket
cousin drum
"""
WORDS = tuple(_WORDS.split())
