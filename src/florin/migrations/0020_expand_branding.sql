-- How a merchant looks to its customers, and where its storefront is. Without a row: as Florin does.
create table branding (
  merchant uuid primary key references merchant (id),
  slug text check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(slug) between 2 and 40),
  card_color text check (card_color ~ '^#[0-9A-F]{6}$'),
  line_color text check (line_color ~ '^#[0-9A-F]{6}$'),
  logo bytea check (length(logo) <= 96000),
  logo_kind text check (logo_kind in ('image/png', 'image/jpeg')),
  logo_tag text,
  changed_at timestamptz not null default clock_timestamp(),
  constraint branding_logo check ((logo is null) = (logo_kind is null)
    and (logo is null) = (logo_tag is null))
);
-- Its visitors name no merchant. One merchant has a slug: see merchants/branding.py.
create index branding_by_slug on branding (slug);
