"""English names of months, weekdays and the like, as Java prints them."""

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
SHORT_MONTHS = tuple(name[:3] for name in MONTHS)
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
SHORT_DAYS = tuple(name[:3] for name in DAYS)
HALVES = ("AM", "PM")
ERAS = ("BC", "AD")
LONG_ERAS = ("Before Christ", "Anno Domini")
DAY_PERIODS = ("midnight", "at night", "in the morning", "noon", "in the afternoon", "in the evening")
QUARTERS = ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter")
SHORT_QUARTERS = ("Q1", "Q2", "Q3", "Q4")
