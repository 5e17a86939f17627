-- To spend a card by its id is a scope of its own. Keys that could do so keep it: whoever wants a key
-- that needs code and PIN makes a new one without it.
update api_key set scopes = array_append(scopes, 'cards:spend-by-id')
where 'redemptions:write' = any (scopes) and not 'cards:spend-by-id' = any (scopes);
