"""Names of artists, albums and tracks, all of them invented."""

from __future__ import annotations


def name_of(number: int, forms: str, first: str, second: str) -> str:
    """Join words from lists whose lengths have no common factor, so that names take long to come again.

    Examples
    --------
    >>> name_of(2, "{} of {}|{} and {}", "Carousel Thread Colour", "Embers Avenues")
    'Colour of Embers'
    """
    choices = forms.split("|"), first.split(), second.split()
    form, one, other = (words[number % len(words)] for words in choices)
    return form.format(one, other)


# All invented. In each group the three lengths are pairwise coprime (see name_of), and that of the forms is
# coprime with the number of styles too, so that none belongs to a style.
ARTIST_NAMES = (
    "{} {}|The {} {}|{} {} Society|{} {} Quintet|{} {} Union",
    """Amber Velvet Paper Copper Willow Marble Saffron Distant Juniper Cobalt Hollow Gentle Crimson Linen
    Tidal Wandering Pewter Sleepy Maple Quiet Ivory Northern Clover Brisk Opal Rustic Lunar Hazel Drifting""",
    """Lanterns Orchard Kettles Meridian Sparrows Ferry Almanac Turnstile Gardeners Compass Thimble Foxgloves
    Cartographers Balcony Pendulum Otters Sundial Weavers Lighthouse Parasol Caravan Bellows Marigolds Ladder
    Signpost Windmill Teacups Harvest Ravine Bakers Spinney""",
)
ALBUM_NAMES = (
    "{} for {}|{} before {}",
    """Letters Rooms Maps Evenings Stairways Windows Postcards Seasons Bridges Almanacs Gardens Hours Rivers
    Signals Corridors Lessons Shadows Tides Orbits Echoes Kitchens Harbours Lanterns Pockets Clouds Engines
    Meadows Mirrors Recipes""",
    """Tomorrow Strangers Winter Nobody Sailors Midnight Neighbours Autumn Travellers Sunday Giants Beginners
    April Dreamers Elsewhere Gravity Company Daylight Cousins Always November Machines Children Morning
    Thunder Silence Someone Islands Yesterday Sparrows Rain""",
)
TRACK_NAMES = (
    "{} of {}|{} and {}|{} without {}|{} after {}|{} beneath {}",
    """Carousel Thread Colour Harbour Shape Memory Garden Ribbon Murmur Weight Corner Anthem Window Ladder
    Letter Season Pocket Kingdom Shadow Valley Engine Portrait Festival""",
    """Embers Avenues Snowfall Feathers Gravity Rooftops Honey Static Pinecones Horizons Velvet Chimneys
    Satellites Moss Umbrellas Cinders Postage Blossom Tramlines Quartz Fireflies Paraffin Driftwood Ceilings
    Tangerines Footsteps Lullabies Orchids Starlings""",
)
